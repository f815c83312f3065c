//! The kinds that the embedded cluster serves: one table, which routing, discovery and storage all read.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// What the API server has to know about one served kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindInfo {
    /// API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// API version within the group, for example `v1`.
    pub version: Cow<'static, str>,
    /// Kind in CamelCase, for example `ReplicaSet`.
    pub kind: Cow<'static, str>,
    /// Resource name in URLs, for example `replicasets`.
    pub plural: Cow<'static, str>,
    /// Singular resource name, for example `replicaset`.
    pub singular: Cow<'static, str>,
    /// Short names that kubectl accepts, for example `rs`.
    pub short_names: Cow<'static, [Cow<'static, str>]>,
    /// Categories, for example `all`.
    pub categories: Cow<'static, [Cow<'static, str>]>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether `metadata.generation` is kept and raised when anything but metadata and status changes.
    pub generation: bool,
    /// Whether the `status` subresource exists, so that writes to the main resource leave status alone.
    pub status: bool,
    /// Whether the `scale` subresource exists.
    pub scale: bool,
}

/// A served kind: cheap to clone, compared by group and resource name.
///
/// Built-in kinds are the constants of this type; kinds of a CustomResourceDefinition are made when the
/// definition is applied.
#[derive(Clone)]
pub struct Kind(KindRef);

#[derive(Clone)]
enum KindRef {
    Builtin(&'static KindInfo),
    Custom(Arc<KindInfo>),
}

impl Deref for Kind {
    type Target = KindInfo;
    fn deref(&self) -> &KindInfo {
        match &self.0 {
            KindRef::Builtin(info) => info,
            KindRef::Custom(info) => info,
        }
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Kind {}
impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Kind {
    fn cmp(&self, other: &Self) -> Ordering {
        if let (KindRef::Builtin(a), KindRef::Builtin(b)) = (&self.0, &other.0)
            && std::ptr::eq(*a, *b)
        {
            return Ordering::Equal;
        }
        (&self.plural, &self.group).cmp(&(&other.plural, &other.group))
    }
}
impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.api_version(), self.kind)
    }
}

impl KindInfo {
    /// `apiVersion` as objects carry it: `v1` or `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The resource with its group as error messages name it: `pods` or `deployments.apps`.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_string()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }
}

impl Kind {
    /// A kind that a CustomResourceDefinition defines.
    #[must_use]
    pub fn custom(info: KindInfo) -> Self {
        Self(KindRef::Custom(Arc::new(info)))
    }

    /// The kind under which objects are stored: the two Event kinds are one resource in two versions.
    #[must_use]
    pub fn stored(&self) -> &Self {
        const EVENT: &Kind = &Kind::EVENT;
        if *self == Self::NEW_EVENT { EVENT } else { self }
    }

    /// Whether the kind comes from a CustomResourceDefinition.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        matches!(self.0, KindRef::Custom(_))
    }

    /// All built-in kinds, core group first.
    #[must_use]
    pub fn builtin() -> &'static [Kind] {
        BUILTIN
    }
}

/// One row of the table: names, then flags given as a string of words.
const fn row(
    gv: (&'static str, &'static str),
    names: [&'static str; 3],
    lists: Lists,
    flags: Flags,
) -> KindInfo {
    KindInfo {
        group: Cow::Borrowed(gv.0),
        version: Cow::Borrowed(gv.1),
        kind: Cow::Borrowed(names[0]),
        plural: Cow::Borrowed(names[1]),
        singular: Cow::Borrowed(names[2]),
        short_names: Cow::Borrowed(lists.0),
        categories: Cow::Borrowed(lists.1),
        namespaced: flags.0,
        generation: flags.1,
        status: flags.2,
        scale: flags.3,
    }
}

/// Short names and categories.
type Lists = (&'static [Cow<'static, str>], &'static [Cow<'static, str>]);
/// Namespaced, generation, status, scale.
type Flags = (bool, bool, bool, bool);

const T: bool = true;
const F: bool = false;
const NONE: &[Cow<'static, str>] = &[];
const ALL: &[Cow<'static, str>] = &[Cow::Borrowed("all")];
const CORE: (&str, &str) = ("", "v1");
const APPS: (&str, &str) = ("apps", "v1");
const RBAC: (&str, &str) = ("rbac.authorization.k8s.io", "v1");

macro_rules! kinds {
    ($($name:ident = $gv:expr, $names:expr, [$($short:literal),*], $cat:expr, $flags:expr;)*) => {
        impl Kind {
            $(
                #[doc = concat!("The built-in kind `", stringify!($name), "`.")]
                pub const $name: Kind = {
                    const SHORT: &[Cow<'static, str>] = &[$(Cow::Borrowed($short)),*];
                    static INFO: KindInfo = row($gv, $names, (SHORT, $cat), $flags);
                    Kind(KindRef::Builtin(&INFO))
                };
            )*
        }
        static BUILTIN: &[Kind] = &[$(Kind::$name),*];
    };
}

// Which kinds keep a generation: the PrepareForCreate and PrepareForUpdate functions under
// pkg/registry/*/*/strategy.go in kubernetes v1.36.
kinds! {
    POD = CORE, ["Pod", "pods", "pod"], ["po"], ALL, (T, T, T, F);
    NODE = CORE, ["Node", "nodes", "node"], ["no"], NONE, (F, F, T, F);
    NAMESPACE = CORE, ["Namespace", "namespaces", "namespace"], ["ns"], NONE, (F, F, T, F);
    SERVICE = CORE, ["Service", "services", "service"], ["svc"], ALL, (T, F, T, F);
    ENDPOINTS = CORE, ["Endpoints", "endpoints", "endpoints"], ["ep"], NONE, (T, F, F, F);
    EVENT = CORE, ["Event", "events", "event"], ["ev"], NONE, (T, F, F, F);
    CONFIG_MAP = CORE, ["ConfigMap", "configmaps", "configmap"], ["cm"], NONE, (T, F, F, F);
    SECRET = CORE, ["Secret", "secrets", "secret"], [], NONE, (T, F, F, F);
    PERSISTENT_VOLUME_CLAIM = CORE, ["PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim"], ["pvc"], NONE, (T, F, T, F);
    PERSISTENT_VOLUME = CORE, ["PersistentVolume", "persistentvolumes", "persistentvolume"], ["pv"], NONE, (F, F, T, F);
    SERVICE_ACCOUNT = CORE, ["ServiceAccount", "serviceaccounts", "serviceaccount"], ["sa"], NONE, (T, F, F, F);
    DEPLOYMENT = APPS, ["Deployment", "deployments", "deployment"], ["deploy"], ALL, (T, T, T, T);
    REPLICA_SET = APPS, ["ReplicaSet", "replicasets", "replicaset"], ["rs"], ALL, (T, T, T, T);
    STATEFUL_SET = APPS, ["StatefulSet", "statefulsets", "statefulset"], ["sts"], ALL, (T, T, T, T);
    DAEMON_SET = APPS, ["DaemonSet", "daemonsets", "daemonset"], ["ds"], ALL, (T, T, T, F);
    POD_DISRUPTION_BUDGET = ("policy", "v1"), ["PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget"], ["pdb"], NONE, (T, T, T, F);
    LEASE = ("coordination.k8s.io", "v1"), ["Lease", "leases", "lease"], [], NONE, (T, F, F, F);
    ENDPOINT_SLICE = ("discovery.k8s.io", "v1"), ["EndpointSlice", "endpointslices", "endpointslice"], [], NONE, (T, T, F, F);
    HORIZONTAL_POD_AUTOSCALER = ("autoscaling", "v2"), ["HorizontalPodAutoscaler", "horizontalpodautoscalers", "horizontalpodautoscaler"], ["hpa"], ALL, (T, F, T, F);
    NETWORK_POLICY = ("networking.k8s.io", "v1"), ["NetworkPolicy", "networkpolicies", "networkpolicy"], ["netpol"], NONE, (T, T, F, F);
    CUSTOM_RESOURCE_DEFINITION = ("apiextensions.k8s.io", "v1"), ["CustomResourceDefinition", "customresourcedefinitions", "customresourcedefinition"], ["crd", "crds"], NONE, (F, T, T, F);
    ROLE = RBAC, ["Role", "roles", "role"], [], NONE, (T, F, F, F);
    CLUSTER_ROLE = RBAC, ["ClusterRole", "clusterroles", "clusterrole"], [], NONE, (F, F, F, F);
    ROLE_BINDING = RBAC, ["RoleBinding", "rolebindings", "rolebinding"], [], NONE, (T, F, F, F);
    CLUSTER_ROLE_BINDING = RBAC, ["ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding"], [], NONE, (F, F, F, F);
    NEW_EVENT = ("events.k8s.io", "v1"), ["Event", "events", "event"], ["ev"], NONE, (T, F, F, F);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_kind_is_distinct() {
        let mut kinds: Vec<_> = Kind::builtin().to_vec();
        let count = kinds.len();
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds.len(), count);
        assert_eq!(Kind::DEPLOYMENT.qualified(), "deployments.apps");
        assert_eq!(Kind::POD.api_version(), "v1");
    }
}
