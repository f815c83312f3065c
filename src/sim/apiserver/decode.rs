//! Bodies read as JSON or YAML, refused in the words of Go's decoder
//! (staging/src/k8s.io/apiserver/pkg/endpoints/handlers/{rest,create}.go and encoding/json).

use super::request::Call;
use crate::sim::store::{Kind, Status, Store};
use serde_json::{Value, json as value};

/// How much of a body an error quotes (`summarizeData` in endpoints/handlers/rest.go).
const QUOTED: usize = 30;

/// What `kubectl create` sends of the kinds that are built in.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// The real one reads it; here every object is the JSON that it has.
const NO_PROTOBUF: &str = "the embedded cluster takes no protobuf, which kubectl create sends of built-in kinds: \
    kubectl create ... --dry-run=client -o yaml | kubectl apply -f -";

/// The body of a call as JSON; an empty one is an empty object. For bodies that hold no kind.
///
/// # Errors
/// 415 for a type that the server does not read, 400 for a body that is not of its type.
pub(super) fn decode_body(call: &Call) -> Result<Value, Status> {
    if call.body.is_empty() {
        return Ok(value!({}));
    }
    read(call).map_err(|why| match why {
        Refused::Type(status) => status,
        Refused::Syntax(why) => Status::bad_request(no_kind(&why)),
    })
}

/// The body of a call as an object of the kind that is named.
///
/// # Errors
/// 415 for a type that the server does not read, 400 for a body that is not of its type, empty, or no object.
pub(super) fn decode_object(call: &Call, kind: &str) -> Result<Value, Status> {
    let refused = |why: &str| {
        let (why, body) = (no_kind(why), summary(&call.body));
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {why} ({body})"
        ))
    };
    match read(call) {
        Ok(object) if object.is_object() => Ok(object),
        Ok(other) => {
            let go = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
            Err(refused(&not_into(&other, go)))
        }
        Err(Refused::Type(status)) => Err(status),
        Err(Refused::Syntax(why)) => Err(refused(&why)),
    }
}

enum Refused {
    Type(Status),
    Syntax(String),
}

fn read(call: &Call) -> Result<Value, Refused> {
    match call.content_type() {
        "application/json" | "" | "*/*" => {
            serde_json::from_slice(&call.body).map_err(|e| Refused::Syntax(syntax(&e, &call.body)))
        }
        "application/yaml" => decode_yaml(&call.body).map_err(|status| Refused::Syntax(status.message)),
        PROTOBUF => Err(Refused::Type(Status::failure(415, "UnsupportedMediaType", NO_PROTOBUF.to_owned()))),
        _ => {
            let accepted = format!("application/json, application/yaml, {PROTOBUF}");
            Err(Refused::Type(unsupported(&accepted)))
        }
    }
}

fn no_kind(why: &str) -> String {
    format!("couldn't get version/kind; json parse error: {why}")
}

fn summary(body: &[u8]) -> String {
    let more = if body.len() > QUOTED { " ..." } else { "" };
    let head = &body[..body.len().min(QUOTED)];
    match body.first() {
        None => "<empty>".into(),
        Some(b'{') => String::from_utf8_lossy(head).into_owned() + more,
        Some(_) => head.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + more,
    }
}

/// YAML, or JSON that is taken for it.
///
/// # Errors
/// 400 with what the parser says.
pub(super) fn decode_yaml(body: &[u8]) -> Result<Value, Status> {
    if let Ok(json) = serde_json::from_slice(body) {
        return Ok(json);
    }
    let text = std::str::from_utf8(body).map_err(|e| Status::bad_request(e.to_string()))?;
    serde_yaml::from_str(text).map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))
}

/// 415 for a body of a type that is none of the accepted.
pub(super) fn unsupported(accepted: &str) -> Status {
    let message = format!(
        "the body of the request was in an unknown format - accepted media types include: {accepted}"
    );
    Status::failure(415, "UnsupportedMediaType", message)
}

/// A syntax error as Go's decoder words it (encoding/json/scanner.go).
pub(super) fn syntax(error: &serde_json::Error, body: &[u8]) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".into();
    }
    let before: usize =
        body.split(|byte| *byte == b'\n').take(error.line() - 1).map(|line| line.len() + 1).sum();
    let found = body.get(before + error.column().saturating_sub(1)).copied().map_or(' ', char::from);
    let said = error.to_string();
    let place = [
        ("key must be a string", "looking for beginning of object key string"),
        ("expected `:`", "after object key"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
        ("trailing characters", "after top-level value"),
    ];
    let place = place.iter().find(|(ours, _)| said.starts_with(ours)).map(|(_, theirs)| *theirs);
    format!("invalid character '{found}' {}", place.unwrap_or("looking for beginning of value"))
}

/// A value of the wrong type, as Go's decoder words it.
pub(super) fn not_into(value: &Value, go_type: &str) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!("json: cannot unmarshal {kind} into Go value of type {go_type}")
}

/// Why an object of one kind is not taken for another (pkg/runtime/scheme.go of apimachinery v0.36).
pub(super) fn no_conversion(store: &Store, (api_version, given): (&str, &str), kind: &Kind) -> String {
    if store.kind_of(api_version, given).is_none() {
        return format!(
            "no kind \"{given}\" is registered for version \"{api_version}\" in scheme \"pkg/runtime/scheme.go:111\""
        );
    }
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let group = kind.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    format!("converting ({version}.{given}) to ({group}.{}): unknown conversion", kind.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_errors_are_worded_as_go_does() {
        for (text, wanted) in [
            ("", "unexpected end of JSON input"),
            ("{\"a\": [1", "unexpected end of JSON input"),
            ("?", "invalid character '?' looking for beginning of value"),
            ("{a: 1}", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\": 1\n \"b\"}", "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
        ] {
            let error = serde_json::from_str::<Value>(text).unwrap_err();
            assert_eq!(syntax(&error, text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn a_body_is_quoted_in_short() {
        assert_eq!(summary(b""), "<empty>");
        assert_eq!(summary(b"[]"), "5b5d");
        assert_eq!(summary(&[b'{'; 40]), "{".repeat(30) + " ...");
    }
}
