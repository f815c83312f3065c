//! Who else decides over what a fault would change.

use kube::api::DynamicObject;

use crate::cluster::owner_of;

/// The GitOps tool that writes under this name.
pub(super) fn gitops(manager: &str) -> Option<&'static str> {
    const MANAGERS: [(&str, &str); 4] = [
        ("argocd-controller", "Argo CD"),
        ("argocd-application-controller", "Argo CD"),
        ("kustomize-controller", "Flux"),
        ("helm-controller", "Flux"),
    ];
    MANAGERS.iter().find(|(name, _)| *name == manager).map(|(_, tool)| *tool)
}

/// Who set the field at `path` last, in words.
pub(super) fn whoever(object: &DynamicObject, path: &[&str]) -> String {
    owner_of(&object.metadata, path).unwrap_or_else(|| "somebody".to_owned())
}
