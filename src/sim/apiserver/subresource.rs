//! The smaller subresources: binding, log, token, finalize.

use super::decode::decode_body;
use super::request::{Call, Target};
use super::{ApiBody, ApiServer, json, raw, rbac};
use crate::sim::store::{Kind, Status};
use http::{Response, StatusCode};
use serde_json::{Value, json as value};

impl ApiServer {
    /// Binds a pod to a node (`BindingREST`).
    pub(super) fn bind(&self, call: &Call, target: &Target) -> Result<Response<ApiBody>, Status> {
        let body = decode_body(call)?;
        let node = body["target"]["name"].as_str().unwrap_or_default().to_string();
        if node.is_empty() {
            return Err(Status::bad_request("target.name: Required value"));
        }
        let now = self.store.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let bind = |pod: &mut crate::sim::store::Object| {
            let mut spec: Value = pod.field("spec").unwrap_or_default();
            if let Some(have) = spec["nodeName"].as_str().filter(|n| !n.is_empty()) {
                let why = format!("pod {} is already assigned to node \"{have}\"", pod.meta.name);
                return Err(Status::conflict(&Kind::POD, &pod.meta.name, &why));
            }
            if pod.terminating() {
                let why = format!("pod {} is being deleted, cannot be assigned to a host", pod.meta.name);
                return Err(Status::conflict(&Kind::POD, &pod.meta.name, &why));
            }
            spec["nodeName"] = node.as_str().into();
            pod.set_value("spec", &spec);
            let mut status: Value = pod.field("status").unwrap_or_default();
            let scheduled = value!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
            if let Some(map) = status.as_object_mut() {
                let conditions = map.entry("conditions").or_insert_with(|| value!([]));
                if let Some(list) = conditions.as_array_mut() {
                    list.retain(|c| c["type"] != "PodScheduled");
                    list.push(scheduled);
                }
            }
            pod.set_value("status", &status);
            Ok(())
        };
        if call.dry_run()? {
            let mut pod = (*self.find(target, &Kind::POD)?).clone();
            bind(&mut pod)?;
        } else {
            self.store.modify(&Kind::POD, &target.namespace, &target.name, bind)?;
        }
        let status = value!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
        Ok(json(StatusCode::CREATED, &status))
    }

    /// The log of a pod. The embedded cluster runs no programs but firedrill's own `connect`, so of any other it says
    /// what it is.
    pub(super) fn log(&self, call: &Call, target: &Target) -> Result<Response<ApiBody>, Status> {
        let pod = self.find(target, &Kind::POD)?;
        let spec: Value = pod.field("spec").unwrap_or_default();
        let names: Vec<&str> =
            spec["containers"].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect();
        let wanted = call.param("container");
        let name = match (wanted, names.as_slice()) {
            ("", [only]) => only,
            ("", _) => {
                let why = format!(
                    "a container name must be specified for pod {}, choose one of: [{}]",
                    pod.meta.name,
                    names.join(" ")
                );
                return Err(Status::bad_request(why));
            }
            (name, all) if all.contains(&name) => name,
            (name, _) => {
                return Err(Status::bad_request(format!(
                    "container {name} is not valid for pod {}",
                    pod.meta.name
                )));
            }
        };
        if let Some(answer) = crate::sim::connect::log(&self.store, &pod, name, |pod| self.backends.said(pod))
        {
            return Ok(raw(StatusCode::OK, "text/plain", answer?));
        }
        if let Some(said) = self.logs.get().and_then(|logs| logs.log(&pod.meta.uid, name)) {
            return Ok(raw(StatusCode::OK, "text/plain", said));
        }
        let text = format!(
            "container {name} of pod {} is simulated: it runs no program and writes no log\n",
            pod.key()
        );
        Ok(raw(StatusCode::OK, "text/plain", text))
    }

    /// A token for a ServiceAccount. It opens nothing on the loopback port, but a TokenReview knows whose it is.
    pub(super) fn token(&self, call: &Call, target: &Target) -> Result<Response<ApiBody>, Status> {
        let account = self.find(target, &Kind::SERVICE_ACCOUNT)?;
        let mut body = decode_body(call)?;
        // At least 10 minutes, an hour by default (pkg/apis/authentication/validation).
        let seconds = body["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
        if seconds < 600 {
            let why = "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: may not specify a duration less than 10 minutes";
            return Err(Status::failure(422, "Invalid", why));
        }
        let expires = self
            .store
            .now()
            .checked_add(jiff::SignedDuration::from_secs(seconds))
            .unwrap_or(self.store.now());
        body["status"] = value!({
            "token": format!("{}{}.{:016x}", rbac::TOKEN, account.meta.uid, self.store.random()),
            "expirationTimestamp": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        });
        Ok(json(StatusCode::CREATED, &body))
    }

    /// `namespaces/finalize`: without finalizers in the spec a terminating namespace goes.
    pub(super) fn finalize(&self, call: &Call, target: &Target) -> Result<Response<ApiBody>, Status> {
        let body = decode_body(call)?;
        let object = self.find(target, &Kind::NAMESPACE)?;
        let held = body["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        if object.terminating() && !held {
            self.store.finalize_namespace(&target.name)?;
        }
        Ok(self.shown(call, &Kind::NAMESPACE, &object, StatusCode::OK))
    }
}
