//! The one environment that every expression is compiled and evaluated in.

use std::sync::{Arc, LazyLock};

use cel::Env;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// Standard library, optional syntax, strings, lists and quantities.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    let added = env
        .add_extension(cel::extensions::strings)
        .and_then(|()| env.add_extension(cel::extensions::lists))
        .and_then(|()| env.add_extension(super::functions::extension))
        .and_then(|()| env.add_extension(super::quantity::extension));
    added.expect("the extensions declare different overloads, which a test compiles");
    Arc::new(env)
});

/// The environment, built once.
pub(super) fn shared() -> Arc<Env> {
    ENVIRONMENT.clone()
}

/// JSON as CEL should see it: whole numbers are ints (serde would make them uints, which do not mix).
pub(super) struct Plain<'a>(pub &'a serde_json::Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde_json::Value;
        match self.0 {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => serializer.serialize_i64(whole),
                None => serializer.serialize_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => serializer.serialize_str(text),
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Plain(item))?;
                }
                list.end()
            }
            Value::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, &Plain(value))?;
                }
                map.end()
            }
        }
    }
}
