//! The expressions of `value`, `expect` and `during`: CEL as Kubernetes users know it.
//!
//! What a file says is compiled and checked against the variables of its probe before anything runs:
//! an unknown name, a function that is not there, arithmetic between whole and floating-point numbers
//! are errors with their place, not surprises in the middle of a run.

mod environment;
mod functions;
mod quantity;
mod references;
mod types;

use std::collections::BTreeMap;

use cel::{Context, ExecutionError, Program, Value};

use crate::types::significant;

pub use super::{Variable, VariableType};
pub use references::Mistake;
pub use types::Kind;

/// The longest expression, in bytes (format.md, section 11).
pub const MAX_BYTES: usize = 4096;
/// The deepest nesting of an expression's syntax tree; evaluation recurses as deep.
const MAX_DEPTH: usize = 100;
/// Up to this depth an expression is evaluated where the caller is; a level takes about 30 KiB of stack
/// in debug builds, so deeper ones get a thread of their own.
const SHALLOW: usize = 16;
/// How deep `all`, `exists`, `map`, `filter` may stand in each other: their cost multiplies.
const MAX_LOOPS: usize = 3;
/// Stack of the thread that compiles or evaluates what is deep; only what is used is ever resident.
const STACK: usize = 64 << 20;

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    text: String,
    program: Program,
    kind: Kind,
    warnings: Vec<Mistake>,
    variables: Vec<String>,
    parameters: Vec<String>,
    depth: usize,
    /// What `&&` joins, where it is more than one thing.
    parts: Vec<Expression>,
}

/// Why an expression does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CompileError {
    /// Byte offset in the expression.
    pub offset: usize,
    /// Length in bytes of what is meant, at least 1 where there is anything.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead; empty if the message says it.
    pub help: String,
}

/// Why an expression has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A field, key or index that is not in what was read.
    #[error("no such key: {0}")]
    NoSuchKey(String),
    /// Operands of the wrong type, or a result of the wrong type.
    #[error("{0}")]
    Type(String),
    /// NaN, an infinite number, a division by zero.
    #[error("not a number")]
    NotANumber,
}

/// What an expression came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A truth value.
    Bool(bool),
    /// A finite number.
    Number(f64),
    /// Text.
    Text(String),
}

/// The values of variables for one evaluation.
#[derive(Clone, Debug, Default)]
pub struct Vars(BTreeMap<String, Value>);

impl Vars {
    /// No variable yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds JSON. Whole numbers become CEL ints, as in Kubernetes, whatever their sign.
    pub fn json(mut self, name: &str, value: &serde_json::Value) -> Self {
        let value = cel::to_value(environment::Plain(value)).unwrap_or(Value::Null);
        self.0.insert(name.to_owned(), value);
        self
    }

    /// Adds a double. NaN is kept, and makes whatever compares it [`EvalError::NotANumber`].
    pub fn number(mut self, name: &str, value: f64) -> Self {
        self.0.insert(name.to_owned(), Value::Float(value));
        self
    }

    /// Adds a whole number.
    pub fn int(mut self, name: &str, value: i64) -> Self {
        self.0.insert(name.to_owned(), Value::Int(value));
        self
    }
}

impl Expression {
    /// Compiles `text` and checks every name in it against `variables` and the functions there are.
    ///
    /// # Errors
    /// The first mistake with its place: syntax, unknown variable or function, types that never fit,
    /// too long or too deep.
    pub fn compile(text: &str, variables: &[Variable]) -> Result<Self, CompileError> {
        if text.len() > MAX_BYTES {
            let message = format!("the expression has {} bytes, more than {MAX_BYTES}", text.len());
            return Err(CompileError { offset: 0, length: 1, message, help: String::new() });
        }
        with_stack(|| compile_here(text, variables)).unwrap_or_else(|message| Err(failed(message)))
    }

    /// The text it was compiled from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What its result will be, as far as that can be told beforehand.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What compiles and is probably not meant.
    pub fn warnings(&self) -> &[Mistake] {
        &self.warnings
    }

    /// Whether it uses the variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.variables.iter().any(|name| name == variable)
    }

    /// The names behind `params.` in it.
    pub fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// The numbers, texts and truth values of the variables in those of its parts, joined by `&&`, that do not hold:
    /// `errorRatio is 0.3125`. Empty where that says no more than `value` does, or where there are none.
    pub fn because(&self, vars: &Vars) -> String {
        let failing = self.parts.iter().filter(|part| part.test(vars) == Ok(false));
        let mut names: Vec<&String> = match self.parts.is_empty() {
            true => self.variables.iter().collect(),
            false => failing.flat_map(|part| &part.variables).collect(),
        };
        names.sort();
        names.dedup();
        if names == ["value"] {
            return String::new();
        }
        let said = |name: &&String| Some(format!("{name} is {}", plainly(vars.0.get(*name)?)?));
        names.iter().filter_map(said).collect::<Vec<_>>().join(", ")
    }

    /// Evaluates to a truth value.
    ///
    /// # Errors
    /// When there is no answer, or another one than true or false.
    pub fn test(&self, vars: &Vars) -> Result<bool, EvalError> {
        match self.evaluate(vars)? {
            Outcome::Bool(answer) => Ok(answer),
            other => Err(EvalError::Type(format!("`{}` gives {other:?}, not true or false", self.text))),
        }
    }

    /// Evaluates to a finite number.
    ///
    /// # Errors
    /// When there is no answer, or something else than a number.
    pub fn number(&self, vars: &Vars) -> Result<f64, EvalError> {
        match self.evaluate(vars)? {
            Outcome::Number(number) => Ok(number),
            other => Err(EvalError::Type(format!("`{}` gives {other:?}, not a number", self.text))),
        }
    }

    /// Evaluates.
    ///
    /// # Errors
    /// When there is no answer; NaN and infinity are [`EvalError::NotANumber`], never false.
    pub fn evaluate(&self, vars: &Vars) -> Result<Outcome, EvalError> {
        if self.depth <= SHALLOW {
            return self.evaluate_here(vars);
        }
        with_stack(|| self.evaluate_here(vars)).unwrap_or_else(|message| Err(EvalError::Type(message)))
    }

    fn evaluate_here(&self, vars: &Vars) -> Result<Outcome, EvalError> {
        let mut context = Context::with_env(environment::shared());
        for name in &self.variables {
            if let Some(value) = vars.0.get(name) {
                context.add_variable_from_value(name.clone(), value.clone());
            }
        }
        match self.program.execute(&context).map_err(eval_error)? {
            Value::Bool(value) => Ok(Outcome::Bool(value)),
            Value::Int(value) => Ok(Outcome::Number(value as f64)),
            Value::UInt(value) => Ok(Outcome::Number(value as f64)),
            Value::Float(value) if value.is_finite() => Ok(Outcome::Number(value)),
            Value::Float(_) => Err(EvalError::NotANumber),
            Value::String(text) => Ok(Outcome::Text(text.to_string())),
            other => Err(EvalError::Type(format!("the result is a {}", other.type_of()))),
        }
    }
}

/// A value that fits into a line; None for any other.
fn plainly(value: &Value) -> Option<String> {
    const LONGEST: usize = 40;
    match value {
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        Value::Float(number) => Some(significant(*number)),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::String(text) if text.chars().count() <= LONGEST => Some(format!("{text:?}")),
        _ => None,
    }
}

/// What `&&` joins at the top of a text; empty where nothing is, or something binds less.
fn conjuncts(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut depth, mut quote) = (Vec::new(), 0, 0usize, None);
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (Some(_), '\\') => drop(characters.next()),
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, '|' | '?') if depth == 0 => return Vec::new(),
            (None, '&') if depth == 0 && characters.next_if(|next| next.1 == '&').is_some() => {
                parts.push(&text[begin..at]);
                begin = at + 2;
            }
            _ => {}
        }
    }
    if parts.is_empty() {
        return parts;
    }
    parts.push(&text[begin..]);
    parts
}

/// Runs `work` on a thread whose stack is large enough for what [`MAX_DEPTH`] lets through.
fn with_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("cel".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .map_err(|error| format!("no thread for a deep expression: {error}"))?
            .join()
            .map_err(|_| "the expression cannot be worked out".to_owned())
    })
}

fn failed(message: String) -> CompileError {
    CompileError { offset: 0, length: 1, message, help: String::new() }
}

fn compile_here(text: &str, variables: &[Variable]) -> Result<Expression, CompileError> {
    let program = environment::shared().compile(text).map_err(|errors| syntax(text, &errors))?;
    let found = references::examine(text, &program, variables);
    if let Some(mistake) = found.mistakes.into_iter().min_by_key(|mistake| mistake.offset) {
        let Mistake { offset, length, message, help } = mistake;
        return Err(CompileError { offset, length, message, help });
    }
    let typed = types::infer(text, &program, variables);
    if let Some(Mistake { offset, length, message, help }) = typed.mistakes.into_iter().next() {
        return Err(CompileError { offset, length, message, help });
    }
    // What holds for the whole holds for its parts, but for a text that only looks like more than one.
    let parts: Result<Vec<_>, _> =
        conjuncts(text).into_iter().map(|part| compile_here(part, variables)).collect();
    Ok(Expression {
        text: text.to_owned(),
        program,
        kind: typed.kind,
        warnings: typed.warnings,
        variables: found.variables,
        parameters: found.parameters,
        depth: found.depth,
        parts: parts.unwrap_or_default(),
    })
}

/// The first syntax error, in words and at its byte.
fn syntax(text: &str, errors: &cel::ParseErrors) -> CompileError {
    let Some(first) = errors.errors.first() else { return failed("the expression is not CEL".to_owned()) };
    let line = usize::try_from(first.pos.0).unwrap_or(1).max(1) - 1;
    let column = usize::try_from(first.pos.1).unwrap_or(1).max(1) - 1;
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    let within = rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at);
    let offset = (before + within).min(text.len());
    let message = first.msg.trim_start_matches("Syntax error: ");
    let mut help = String::new();
    let single =
        |at: usize| text.as_bytes().get(at) == Some(&b'=') && text.as_bytes().get(at + 1) != Some(&b'=');
    if text.trim().is_empty() {
        help = "write for example value >= 0.99".to_owned();
    } else if single(offset) {
        help = "compare with ==".to_owned();
    } else if message.contains("' and '") || text.contains(" and ") || text.contains(" or ") {
        help = "CEL writes && and ||".to_owned();
    }
    CompileError { offset, length: 1, message: format!("not CEL: {}", brief(message)), help }
}

/// The parser lists every token it would have taken; that helps nobody.
fn brief(message: &str) -> &str {
    message.split_once(" expecting ").map_or(message, |(head, _)| head)
}

fn eval_error(error: ExecutionError) -> EvalError {
    let nan = |value: &Value| matches!(value, Value::Float(number) if number.is_nan());
    match error {
        ExecutionError::NoSuchKey(key) => EvalError::NoSuchKey(key.to_string()),
        ExecutionError::IndexOutOfBounds(index) => EvalError::NoSuchKey(format!("{index:?}")),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => EvalError::NotANumber,
        ExecutionError::ValuesNotComparable(a, b) if nan(&a) || nan(&b) => EvalError::NotANumber,
        // The only two numbers that cannot be ordered are those of which one is NaN.
        ExecutionError::NoSuchOverload(call)
            if ["_<_", "_<=_", "_>_", "_>=_"].contains(&call.function())
                && call
                    .argument_types()
                    .iter()
                    .all(|name| matches!(name.as_str(), "double" | "int" | "uint")) =>
        {
            EvalError::NotANumber
        }
        ExecutionError::UndeclaredReference(name) => EvalError::NoSuchKey(name.to_string()),
        other => EvalError::Type(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
