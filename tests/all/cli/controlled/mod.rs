//! Runs of a controller: made, followed and spoken to from the command line, on an embedded cluster behind a port; in
//! real time.

mod brought;
mod followed;
mod next;
mod people;

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use firedrill::{api, cluster::Access, types::ObjectRef};
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::{
    Ended, Place,
    newcomer::{Served, serve},
};

/// Who may do what beside the roles of the installation: dev writes experiments and runs them, in another namespace only
/// writes them; bob agrees.
const PEOPLE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: other}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: developers, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'firedrill:experiment'}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: dev}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: approvers, namespace: shop}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'firedrill:approve'}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: bob}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: writers, namespace: other}
rules:
- {apiGroups: [firedrill.dev], resources: [experiments], verbs: [get, create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: writers, namespace: other}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: writers}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: dev}]
";

/// An experiment with these steps, which wants so many pods.
pub fn experiment(name: &str, (expect, during): (&str, &str), method: &str) -> String {
    format!(
        "---
apiVersion: firedrill.dev/v1alpha1
kind: Experiment
metadata: {{name: {name}, namespace: shop, labels: {{part: {name}}}}}
spec:
  hypothesis: The shop heals by itself.
  steadyState:
  - name: ready
    kubernetes: {{apiVersion: apps/v1, kind: Deployment, name: web}}
    value: object.status.readyReplicas
    expect: {expect}
    during: {during}
    every: 1s
    for: 1s
  baseline: {{duration: 1s}}
  method:
{method}
  objectives: {{stableFor: 1s, recoverWithin: 1m}}
  limits: {{pods: 100%, duration: 10m}}
"
    )
}

/// Shrinks the workload for so long.
pub fn shrink(workload: &str, duration: &str) -> String {
    format!(
        "  - {{name: shrink, target: {{workload: deployment/{workload}}}, scale: {{replicas: 1}}, duration: {duration}}}"
    )
}

/// A cluster with a controller at work in it, until this is dropped.
pub struct Installed {
    pub place: Place,
    kubeconfig: String,
    controller: Child,
    _served: Served,
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = self.controller.kill();
        let _ = self.controller.wait();
    }
}

impl Installed {
    /// With these manifests beside those of the drill.
    pub fn with(more: &str) -> Self {
        Self::told(more, &[])
    }

    /// The same, with a controller that has these in its environment.
    pub fn told(more: &str, variables: &[(&str, &str)]) -> Self {
        let place = Place::new();
        let manifests = place.home.path().join("manifests");
        std::fs::create_dir(&manifests).expect("a folder");
        for file in ["experiments/demo/nodes.yaml", "tests/real/controller.yaml"] {
            let name = file.rsplit('/').next().expect("a name");
            std::fs::copy(file, manifests.join(name)).expect("a manifest");
        }
        let rights = place.run(&["controller", "manifests", "--only", "rights"]).exits(0).out;
        for (name, text) in [("rights.yaml", rights.as_str()), ("people.yaml", PEOPLE), ("more.yaml", more)] {
            if !text.is_empty() {
                std::fs::write(manifests.join(name), text).expect("a manifest");
            }
        }
        let (served, kubeconfig) = serve(&place, &manifests.display().to_string());
        let mut command = place.command(&["controller", "--kubeconfig", &kubeconfig]);
        command.envs(variables.iter().copied());
        let controller = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let installed = Self { place, kubeconfig, controller, _served: served };
        installed.until("the workload is whole", || {
            installed.get("apps/v1", "Deployment", "web")["status"]["readyReplicas"] == 4
        });
        installed
    }

    /// Tells the controller to end, and waits until it has.
    pub fn end(&mut self) {
        let told = format!("kill -TERM {}", self.controller.id());
        let told = std::process::Command::new("sh").args(["-c", &told]).status().expect("a shell");
        assert!(told.success() && self.controller.wait().expect("it ends").success());
    }

    /// A kubeconfig of somebody else's.
    fn of(&self, who: &str) -> String {
        let text = std::fs::read_to_string(&self.kubeconfig).expect("a kubeconfig");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config["users"][0]["user"]["as"] = who.into();
        self.place.write(who, &config.to_string())
    }

    /// Begins a command as an administrator, or as `who`; its standard output and error can be read.
    pub fn begin(&self, who: &str, arguments: &[&str]) -> Child {
        let kubeconfig = if who.is_empty() { self.kubeconfig.clone() } else { self.of(who) };
        let all = [arguments, &["-n", "shop", "--kubeconfig", &kubeconfig]].concat();
        let plain = self.place.command(&all);
        // Whoever runs the tests in the background of a script ignores SIGINT, and no shell takes that back.
        let mut command = std::process::Command::new("env");
        command.arg("--default-signal=INT").arg(plain.get_program()).args(plain.get_args());
        command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
    }

    /// The same to its end.
    pub fn said_by(&self, who: &str, arguments: &[&str]) -> Ended {
        Ended::of(self.begin(who, arguments).wait_with_output().expect("it ends"))
    }

    pub fn firedrill(&self, arguments: &[&str]) -> Ended {
        self.said_by("", arguments)
    }

    /// A place for a file.
    pub fn file(&self, name: &str) -> String {
        self.place.home.path().join(name).display().to_string()
    }

    /// Asks the API server as an administrator.
    fn ask<T>(&self, ask: impl AsyncFnOnce(Access) -> T) -> T {
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            let kubeconfig = kube::config::Kubeconfig::read_from(&self.kubeconfig).expect("a kubeconfig");
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await;
            ask(Access::new(kube::Client::try_from(config.expect("a kubeconfig")).expect("a client"))).await
        })
    }

    /// An object of namespace shop as JSON; null if it is not there.
    pub fn get(&self, api_version: &str, kind: &str, name: &str) -> Value {
        let object = ObjectRef::namespaced(api_version, kind, "shop", name);
        let found = self.ask(async |access| access.get(&object).await.ok());
        found.map_or(Value::Null, |found| serde_json::to_value(found).expect("JSON"))
    }

    /// One of ours.
    pub fn ours(&self, kind: &str, name: &str) -> Value {
        self.get(api::API_VERSION, kind, name)
    }

    /// The names of all Runs.
    pub fn runs(&self) -> Vec<String> {
        let like = ObjectRef::namespaced(api::API_VERSION, "Run", "shop", "");
        let runs = self.ask(async |access| access.list(&like, "").await).expect("they can be listed");
        runs.into_iter().filter_map(|run: DynamicObject| run.metadata.name).collect()
    }

    /// Changes one of ours as somebody with an editor does.
    pub fn edit(&self, kind: &str, name: &str, body: &Value) {
        let object = ObjectRef::namespaced(api::API_VERSION, kind, "shop", name);
        let params = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
        self.ask(async |access| access.api(&object).patch(name, &params, &Patch::Merge(body)).await)
            .expect("it is changed");
    }

    pub fn delete(&self, run: &str) {
        let object = ObjectRef::namespaced(api::API_VERSION, "Run", "shop", run);
        self.ask(async |access| access.delete(&object, false).await).expect("it is deleted");
    }

    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        for _ in 0..240 {
            if holds() {
                return;
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        panic!("never: {what}");
    }

    /// Waits for a Run that was not there before, and until its status says so; its name.
    #[track_caller]
    pub fn made(&self, before: &[String], field: &str, value: &str) -> String {
        let made = || self.runs().into_iter().find(|run| !before.contains(run));
        self.until(&format!("a Run whose {field} is {value}"), || {
            made().is_some_and(|run| self.ours("Run", &run)["status"][field] == *value)
        });
        made().expect("it is there")
    }
}

/// The name of the Run that a command has made.
pub fn run_of(ended: &Ended) -> String {
    let line = ended.err.lines().find_map(|line| line.strip_prefix("Run ")).expect("it says so");
    line.split(' ').next().expect("a name").to_owned()
}

/// A GameDay of two, of which the second waits for a go, and for somebody to agree.
pub fn game_day(name: &str, second: &str) -> String {
    format!(
        "---\napiVersion: firedrill.dev/v1alpha1\nkind: GameDay\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         approvals: {{required: 1}}\n  experiments:\n  - {{name: one, experimentRef: {{name: trial}}}}\n  \
         - {{name: two, experimentRef: {{name: {second}}}, gate: Manual}}\n"
    )
}

/// What a Run asks for, by its spec.
pub fn parameters(run: &Value) -> Value {
    run["spec"].get("parameters").cloned().unwrap_or_else(|| json!([]))
}
