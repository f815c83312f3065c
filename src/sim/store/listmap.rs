//! How lists merge: the patch strategy and list type that the built-in types declare for their list fields.
//!
//! Source: the tags `patchMergeKey`, `patchStrategy` and `+listType`, `+listMapKey` in
//! staging/src/k8s.io/api/*/*/types.go of kubernetes v1.36.

use super::kind::KindInfo;

/// How a list field is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListMerge {
    /// Replaced as a whole.
    Atomic,
    /// A set of plain values.
    Set,
    /// Elements are told apart by keys.
    Keyed {
        /// The key of strategic merge patches.
        strategic: &'static str,
        /// The keys of server-side apply, with the default of each (empty: none).
        apply: &'static [(&'static str, &'static str)],
    },
}

const fn keyed(strategic: &'static str, apply: &'static [(&'static str, &'static str)]) -> ListMerge {
    ListMerge::Keyed { strategic, apply }
}

/// The merge rule of a list field of a built-in kind, by the field's name; lists of custom resources are atomic.
#[must_use]
pub fn list_merge(kind: &KindInfo, custom: bool, field: &str) -> ListMerge {
    match field {
        "ownerReferences" => return keyed("uid", &[("uid", "")]),
        "finalizers" => return ListMerge::Set,
        _ if custom => return ListMerge::Atomic,
        _ => {}
    }
    match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "secrets"
        | "resourceClaims" => keyed("name", &[("name", "")]),
        "ports" => match kind.plural.as_ref() {
            "services" => keyed("port", &[("port", ""), ("protocol", "TCP")]),
            "endpoints" | "endpointslices" | "networkpolicies" => ListMerge::Atomic,
            _ => keyed("containerPort", &[("containerPort", ""), ("protocol", "TCP")]),
        },
        "volumeMounts" => keyed("mountPath", &[("mountPath", "")]),
        "volumeDevices" => keyed("devicePath", &[("devicePath", "")]),
        "conditions" => keyed("type", &[("type", "")]),
        "addresses" if kind.plural == "nodes" => keyed("type", &[("type", "")]),
        "hostAliases" | "podIPs" | "hostIPs" => keyed("ip", &[("ip", "")]),
        "topologySpreadConstraints" => {
            keyed("topologyKey", &[("topologyKey", ""), ("whenUnsatisfiable", "")])
        }
        _ => ListMerge::Atomic,
    }
}

/// Whether a map field is owned and replaced as a whole under server-side apply (`+structType=atomic`).
#[must_use]
pub fn atomic_map(field: &str) -> bool {
    matches!(field, "selector" | "nodeSelector" | "podSelector" | "namespaceSelector" | "labelSelector")
}
