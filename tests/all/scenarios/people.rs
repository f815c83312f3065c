//! What somebody else may do during a run.

use futures::future::BoxFuture;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use firedrill::engine;

use super::{row::Actor, state::api};

type Done = BoxFuture<'static, Result<String, String>>;

const NODE: (&str, &str, &str) = ("", "v1", "Node");
const NAMESPACE: (&str, &str, &str) = ("", "v1", "Namespace");
const POD: (&str, &str, &str) = ("", "v1", "Pod");
const CONFIG_MAP: (&str, &str, &str) = ("", "v1", "ConfigMap");
const DEPLOYMENT: (&str, &str, &str) = ("apps", "v1", "Deployment");
const AUTOSCALER: (&str, &str, &str) = ("autoscaling", "v2", "HorizontalPodAutoscaler");
const BUDGET: (&str, &str, &str) = ("policy", "v1", "PodDisruptionBudget");

async fn patch(actor: &Actor, kind: (&str, &str, &str), name: &str, change: Value) -> Result<String, String> {
    let namespace = if matches!(kind.2, "Node" | "Namespace") { "" } else { &actor.namespace };
    let how = PatchParams { field_manager: Some("kubectl-edit".to_owned()), ..PatchParams::default() };
    let done = api(&actor.client, kind, namespace).patch(name, &how, &Patch::Merge(change)).await;
    done.map(|_| String::new()).map_err(|error| format!("patching {} {name}: {error}", kind.2))
}

/// Cordons the row's node a0, as `kubectl cordon` does.
pub fn cordons_a0(actor: Actor) -> Done {
    Box::pin(async move {
        let node = format!("{}-a0", actor.namespace);
        patch(&actor, NODE, &node, json!({"spec": {"unschedulable": true}})).await
    })
}

/// Uncordons it.
pub fn uncordons_a0(actor: Actor) -> Done {
    Box::pin(async move {
        let node = format!("{}-a0", actor.namespace);
        patch(&actor, NODE, &node, json!({"spec": {"unschedulable": null}})).await
    })
}

/// Changes a0's taints by these operations.
fn changes_taints(actor: Actor, operations: Value) -> Done {
    Box::pin(async move {
        let node = format!("{}-a0", actor.namespace);
        let taints: json_patch::Patch =
            serde_json::from_value(operations).map_err(|error| error.to_string())?;
        let nodes = api(&actor.client, NODE, "");
        let done = nodes.patch(&node, &PatchParams::default(), &Patch::Json::<DynamicObject>(taints)).await;
        done.map(|_| String::new()).map_err(|error| error.to_string())
    })
}

/// Takes away what holds the Machine of a0 back, half a minute after it should have gone.
pub fn takes_the_hook_away(actor: Actor) -> Done {
    Box::pin(async move {
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        let hook = json!({"pre-drain.delete.hook.machine.cluster.x-k8s.io/backup": null});
        let machine = ("cluster.x-k8s.io", "v1beta2", "Machine");
        patch(&actor, machine, "m0", json!({"metadata": {"annotations": hook}})).await
    })
}

/// Puts a taint on a0 that is none of ours.
pub fn taints_a0(actor: Actor) -> Done {
    let mine = json!({"key": "example.com/mine", "effect": "PreferNoSchedule"});
    changes_taints(actor, json!([{"op": "add", "path": "/spec/taints/-", "value": mine}]))
}

/// Puts a taint on a0 before any other, of the key that the drill uses.
pub fn taints_a0_like_the_drill(actor: Actor) -> Done {
    let mine = json!({"key": "example.com/drill", "value": "mine", "effect": "PreferNoSchedule"});
    changes_taints(actor, json!([{"op": "add", "path": "/spec/taints/0", "value": mine}]))
}

/// Taints a0 as the drill would, before it.
pub fn has_the_drills_taint_on_a0(actor: Actor) -> Done {
    let taint = json!({"key": "example.com/drill", "value": "mine", "effect": "NoSchedule"});
    changes_taints(actor, json!([{"op": "add", "path": "/spec/taints", "value": [taint]}]))
}

/// Takes all taints off a0.
pub fn clears_the_taints_of_a0(actor: Actor) -> Done {
    changes_taints(actor, json!([{"op": "remove", "path": "/spec/taints"}]))
}

/// Gives the first taint of a0 another value.
pub fn values_the_taint_of_a0(actor: Actor) -> Done {
    changes_taints(actor, json!([{"op": "replace", "path": "/spec/taints/0/value", "value": "mine"}]))
}

/// A further node of zone a comes up.
pub fn adds_a_node(actor: Actor) -> Done {
    Box::pin(async move {
        let text = super::objects::nodes(&[("a9", "a")]).replace("$NS", &actor.namespace);
        super::bench::create(&actor.client, &crate::kit::manifests(&text)).await?;
        Ok(String::new())
    })
}

/// No node takes pods any more.
pub fn closes_every_node(actor: Actor) -> Done {
    Box::pin(async move {
        let selector = ListParams::default().labels(&format!("row={}", actor.namespace));
        let nodes = api(&actor.client, NODE, "").list(&selector).await.map_err(|error| error.to_string())?;
        for node in nodes.items {
            let name = node.metadata.name.unwrap_or_default();
            patch(&actor, NODE, &name, json!({"spec": {"unschedulable": true}})).await?;
        }
        Ok(String::new())
    })
}

/// Scales `web` to 5, as `kubectl scale` does.
pub fn scales_web_to_5(actor: Actor) -> Done {
    Box::pin(async move {
        let deployments = api(&actor.client, DEPLOYMENT, &actor.namespace);
        let change = Patch::Merge(json!({"spec": {"replicas": 5}}));
        let how = PatchParams { field_manager: Some("kubectl".to_owned()), ..PatchParams::default() };
        let done = deployments.patch_subresource("scale", "web", &how, &change);
        let done: Result<DynamicObject, kube::Error> = done.await;
        done.map(|_| String::new()).map_err(|error| error.to_string())
    })
}

/// Takes the vault out of the way: its budget would hold up the drain of its node for ever.
pub fn closes_the_vault(actor: Actor) -> Done {
    Box::pin(async move { patch(&actor, DEPLOYMENT, "vault", json!({"spec": {"replicas": 0}})).await })
}

/// Begins a rollout of `web` and pauses it, as `kubectl rollout pause` does.
pub fn pauses_a_rollout_of_web(actor: Actor) -> Done {
    Box::pin(async move {
        let template = json!({"metadata": {"annotations": {"release": "next"}}});
        patch(&actor, DEPLOYMENT, "web", json!({"spec": {"paused": true, "template": template}})).await
    })
}

/// Labels `web`.
pub fn labels_web(actor: Actor) -> Done {
    Box::pin(async move {
        let change = json!({"metadata": {"labels": {"touched": "yes"}, "annotations": {"who": "somebody"}}});
        patch(&actor, DEPLOYMENT, "web", change).await
    })
}

/// Releases `web` anew.
pub fn releases_web(actor: Actor) -> Done {
    Box::pin(async move {
        let change = json!({"spec": {"template": {"metadata": {"annotations": {"release": "2"}}}}});
        patch(&actor, DEPLOYMENT, "web", change).await
    })
}

/// Releases `web` anew, a little later: while the rollout of somebody else goes on.
pub fn releases_web_meanwhile(actor: Actor) -> Done {
    Box::pin(async move {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        releases_web(actor).await
    })
}

/// Raises the bound of the autoscaler of `web` to 20.
pub fn raises_the_bound(actor: Actor) -> Done {
    Box::pin(async move { patch(&actor, AUTOSCALER, "web", json!({"spec": {"maxReplicas": 20}})).await })
}

/// Releases another image of `web`: a fix forward.
pub fn fixes_web_forward(actor: Actor) -> Done {
    Box::pin(async move {
        let fixed = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "registry.example.com/main:2"}]);
        let fixed: json_patch::Patch = serde_json::from_value(fixed).map_err(|error| error.to_string())?;
        let how = PatchParams { field_manager: Some("kubectl-set".to_owned()), ..PatchParams::default() };
        let deployments = api(&actor.client, DEPLOYMENT, &actor.namespace);
        let done = deployments.patch("web", &how, &Patch::Json::<DynamicObject>(fixed)).await;
        done.map(|_| String::new()).map_err(|error| error.to_string())
    })
}

/// Pauses the rollouts of `web`.
pub fn pauses_web(actor: Actor) -> Done {
    Box::pin(async move { patch(&actor, DEPLOYMENT, "web", json!({"spec": {"paused": true}})).await })
}

/// Argo CD applies `web` with its replicas.
pub fn argo_applies_web(actor: Actor) -> Done {
    Box::pin(async move {
        let deployments = api(&actor.client, DEPLOYMENT, &actor.namespace);
        let wanted = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": actor.namespace}, "spec": {"replicas": 4}});
        let how = PatchParams::apply("argocd-controller").force();
        let done = deployments.patch("web", &how, &Patch::Apply(wanted)).await;
        done.map(|_| String::new()).map_err(|error| error.to_string())
    })
}

/// Deletes one pod of `web`.
pub fn deletes_a_pod(actor: Actor) -> Done {
    Box::pin(async move {
        let pods = api(&actor.client, POD, &actor.namespace);
        let listed =
            pods.list(&ListParams::default().labels("app=web")).await.map_err(|error| error.to_string())?;
        let alive = listed.items.iter().find(|pod| pod.metadata.deletion_timestamp.is_none());
        let name = alive.and_then(|pod| pod.metadata.name.clone()).ok_or("no pod of web is left")?;
        match pods.delete(&name, &DeleteParams::default().grace_period(0)).await {
            // The run was quicker.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(String::new()),
            done => done.map(|_| String::new()).map_err(|error| error.to_string()),
        }
    })
}

/// Deletes the namespace.
pub fn deletes_the_namespace(actor: Actor) -> Done {
    Box::pin(async move {
        let done = api(&actor.client, NAMESPACE, "").delete(&actor.namespace, &DeleteParams::default()).await;
        done.map(|_| String::new()).map_err(|error| error.to_string())
    })
}

/// Makes the budget of `web` allow nothing more.
pub fn tightens_the_budget(actor: Actor) -> Done {
    Box::pin(async move { patch(&actor, BUDGET, "web", json!({"spec": {"minAvailable": "100%"}})).await })
}

/// Puts `web` under a budget that lets one of its four pods go at a time.
pub fn makes_a_budget(actor: Actor) -> Done {
    Box::pin(async move {
        let text = super::objects::budget("web", "web", "minAvailable: 3").replace("$NS", &actor.namespace);
        super::bench::create(&actor.client, &crate::kit::manifests(&text)).await?;
        Ok(String::new())
    })
}

/// Says in the ConfigMap `word` that all is not well.
pub fn takes_back_the_word(actor: Actor) -> Done {
    Box::pin(async move { patch(&actor, CONFIG_MAP, "word", json!({"data": {"well": "no"}})).await })
}

/// Declares the cluster production.
pub fn declares_production(actor: Actor) -> Done {
    Box::pin(async move {
        let label = json!({"metadata": {"labels": {"firedrill.dev/environment": "production"}}});
        patch(&actor, NAMESPACE, "kube-system", label).await
    })
}

/// Asks for a second run of the same, and says what it is refused for.
pub fn starts_a_second_run(actor: Actor) -> Done {
    Box::pin(async move {
        let request = actor.request.ok_or("there is no run yet")?;
        let findings = match engine::assess(&actor.env, &request).await {
            Ok(assessment) => assessment.plan.findings,
            Err(findings) => findings,
        };
        let errors = findings.iter().filter(|finding| finding.is_error());
        Ok(errors
            .map(|finding| format!("{} {}", finding.code, finding.message))
            .collect::<Vec<_>>()
            .join("\n"))
    })
}
