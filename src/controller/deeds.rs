//! Doing what the catalog asks for.

use tokio::sync::mpsc;

use super::{Context, catalog::Deed, events::Told, held, notices::Notice, object, seen::run_id};
use crate::{
    api::NoticeEvent,
    cluster::{ApiError, JsonPatch, Write},
    types::ObjectRef,
};

async fn is_there(context: &Context, object: &ObjectRef) -> bool {
    let found = context.access.get(object).await;
    found.is_ok_and(|found| found.metadata.uid.as_ref() == Some(&object.uid))
}

/// Does it; what could not be done is said to `undone`.
pub(super) async fn carry_out(context: Context, deed: Deed, undone: mpsc::UnboundedSender<ObjectRef>) {
    let access = &context.access;
    let how = Write { manager: object::MANAGER, dry_run: false };
    match deed {
        Deed::Make(run, body) => match access.create(&run, body, how).await {
            Ok(made) => {
                let made = ObjectRef { uid: made.metadata.uid.unwrap_or_default(), ..run };
                let id = run_id(&made);
                tracing::info!(run = %id, namespace = made.namespace, name = made.name, "made, as its schedule asks for");
            }
            // Somebody has made it already.
            Err(ApiError::Conflict(_) | ApiError::AlreadyExists) => {}
            Err(error) => {
                // One that is not there has no id.
                tracing::warn!(namespace = run.namespace, name = run.name, %error, "it is due, and cannot be made");
            }
        },
        Deed::Delete(run) => {
            if let Err(error) = object::delete(access, &run).await {
                let id = run_id(&run);
                tracing::warn!(run = %id, namespace = run.namespace, name = run.name, %error, "an old Run could not be deleted");
            }
        }
        Deed::Status(of, status) => {
            let patch = JsonPatch::new().test("/metadata/uid", &of.uid).add("/status", &status);
            match access.patch(&of, Some("status"), &patch, how).await {
                Ok(_) | Err(ApiError::NotFound) => {}
                // It is gone, or another one of that name.
                Err(ApiError::Invalid(_)) if !is_there(&context, &of).await => {}
                Err(error) => {
                    tracing::warn!(kind = of.kind, name = of.name, %error, "a status could not be written");
                    let _ = undone.send(of);
                }
            }
        }
        Deed::Waits(run, before, status) => {
            // Whoever has taken it up meanwhile knows better.
            let patch = JsonPatch::new().test("/metadata/uid", &run.uid).test("/status", &before);
            let patch = patch.add("/status", &status);
            match access.patch(&run, Some("status"), &patch, how).await {
                Ok(_) | Err(ApiError::NotFound | ApiError::Invalid(_) | ApiError::Conflict(_)) => {}
                Err(error) => {
                    tracing::warn!(namespace = run.namespace, name = run.name, %error, "what a Run waits for could not be told");
                }
            }
        }
        Deed::Upcoming(on, day, notification, starts) => {
            let account = day.spec.service_account_name.as_deref();
            if let Some(notices) = held::notices(&context, &on, (&day, account)).await {
                let words = format!("{} begins soon", day.metadata.name);
                let soon = Notice { starts: Some(starts), ..Notice::new(NoticeEvent::Upcoming, words) };
                notices.tell_one(&notification, soon);
                notices.close().await;
            }
        }
        Deed::Tell(on, reason, words) => {
            tracing::info!(kind = on.kind, namespace = on.namespace, name = on.name, reason, words, "told");
            Told { on, warning: true, reason: reason.to_owned(), words }.send(access, &context.env.clock);
        }
    }
}
