//! What can be told of types before anything is evaluated: enough to catch `value * 100`.

use cel::Program;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};

use super::references::{Mistake, offset_of, token_length};
use super::{Variable, VariableType};

/// A type as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 64-bit floating point.
    Double,
    /// 64-bit integer.
    Int,
    /// true or false.
    Bool,
    /// Text.
    Text,
    /// A length of time or a point in it.
    Time,
    /// What has fields: `baseline`, `window`, `params`.
    Map,
    /// Unknown until it is evaluated.
    Any,
}

impl Kind {
    /// Whether this may be a number.
    pub fn may_be_number(self) -> bool {
        matches!(self, Kind::Double | Kind::Int | Kind::Any)
    }

    /// Whether this may be a truth value.
    pub fn may_be_bool(self) -> bool {
        matches!(self, Kind::Bool | Kind::Any)
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Double => "a floating-point number",
            Kind::Int => "a whole number",
            Kind::Bool => "a truth value",
            Kind::Text => "text",
            Kind::Time => "a duration or a time",
            Kind::Map => "a map",
            Kind::Any => "anything",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// Variables that hold others, each with one to name.
const FIELD_OF: [(&str, &str); 3] = [("baseline", "mean"), ("window", "mean"), ("params", "NAME")];

/// What inference found.
pub(super) struct Typed {
    pub kind: Kind,
    pub mistakes: Vec<Mistake>,
    pub warnings: Vec<Mistake>,
}

pub(super) fn infer(text: &str, program: &Program, variables: &[Variable]) -> Typed {
    let mut inference = Inference { text, program, variables, mistakes: Vec::new(), warnings: Vec::new() };
    let kind = inference.kind(program.expression());
    Typed { kind, mistakes: inference.mistakes, warnings: inference.warnings }
}

struct Inference<'a> {
    text: &'a str,
    program: &'a Program,
    variables: &'a [Variable],
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
}

impl Inference<'_> {
    /// Depth is bounded by then, so recursion is safe.
    fn kind(&mut self, node: &IdedExpr) -> Kind {
        match &node.expr {
            Expr::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Kind::Bool,
                LiteralValue::Double(_) => Kind::Double,
                LiteralValue::Int(_) => Kind::Int,
                LiteralValue::String(_) => Kind::Text,
                _ => Kind::Any,
            },
            Expr::Ident(name) if self.is_map(name) => Kind::Map,
            Expr::Ident(name) => {
                self.variables.iter().find(|v| v.name == name).map_or(Kind::Any, |v| match v.kind {
                    VariableType::Double => Kind::Double,
                    VariableType::Int => Kind::Int,
                    VariableType::Bool => Kind::Bool,
                    VariableType::String => Kind::Text,
                    VariableType::Any => Kind::Any,
                })
            }
            Expr::Call(call) => self.call(node, call),
            Expr::Select(select) if select.test => Kind::Bool,
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(name) if matches!(name.as_str(), "baseline" | "window") => {
                    if select.field == "count" { Kind::Int } else { Kind::Double }
                }
                Expr::Ident(name) if name == "params" => Kind::Text,
                _ => Kind::Any,
            },
            // Inside of a loop its variables shadow the probe's: nothing is known there.
            Expr::Comprehension(_) => Kind::Any,
            _ => Kind::Any,
        }
    }

    /// Whether `name` is one of the variables that hold others.
    fn is_map(&self, name: &str) -> bool {
        FIELD_OF.iter().any(|(map, _)| *map == name)
            && self.variables.iter().any(|variable| variable.name == name)
    }

    /// What to write where one of these stands alone.
    fn field_of(&self, call: &CallExpr) -> String {
        let alone = call.args.iter().find_map(|side| match &side.expr {
            Expr::Ident(name) if self.is_map(name) => FIELD_OF.iter().find(|(map, _)| map == name),
            _ => None,
        });
        alone.map_or_else(String::new, |(map, field)| format!("`{map}` is a map: write {map}.{field}"))
    }

    fn call(&mut self, node: &IdedExpr, call: &CallExpr) -> Kind {
        let target = call.target.as_ref().map(|target| self.kind(target));
        let kinds: Vec<Kind> = call.args.iter().map(|argument| self.kind(argument)).collect();
        match (call.func_name.as_str(), kinds.as_slice()) {
            ("_*_" | "_/_" | "_+_" | "_-_" | "_%_", [left, right]) => {
                self.arithmetic(node, call, *left, *right)
            }
            ("_==_" | "_!=_", [left, right]) => {
                self.comparable(node, call, (*left, *right), true);
                Kind::Bool
            }
            ("_<_" | "_<=_" | "_>_" | "_>=_", [left, right]) => {
                self.comparable(node, call, (*left, *right), false);
                self.integer_division(call, &kinds);
                Kind::Bool
            }
            ("_&&_" | "_||_" | "!_", _) => {
                for (argument, kind) in call.args.iter().zip(&kinds) {
                    if !kind.may_be_bool() {
                        let message = format!("{kind} stands where a truth value is needed");
                        self.report(argument, message, String::new());
                    }
                }
                Kind::Bool
            }
            ("-_", [kind]) => *kind,
            ("_?_:_", [_, yes, no]) if yes == no => *yes,
            ("double" | "asApproximateFloat", _) => Kind::Double,
            ("int" | "size" | "asInteger" | "compareTo" | "indexOf" | "lastIndexOf" | "sign", _) => Kind::Int,
            ("@in" | "matches" | "contains" | "startsWith" | "endsWith" | "isQuantity", _) => Kind::Bool,
            ("isGreaterThan" | "isLessThan" | "isInteger" | "hasValue" | "isSorted", _) => Kind::Bool,
            ("string" | "lowerAscii" | "upperAscii" | "trim" | "replace" | "substring" | "join", _) => {
                Kind::Text
            }
            ("duration" | "timestamp", _) => Kind::Time,
            _ if target == Some(Kind::Time) => Kind::Int,
            _ => Kind::Any,
        }
    }

    fn arithmetic(&mut self, node: &IdedExpr, call: &CallExpr, left: Kind, right: Kind) -> Kind {
        match (left, right) {
            (Kind::Double, Kind::Int) => self.mixed(node, &call.args[1]),
            (Kind::Int, Kind::Double) => self.mixed(node, &call.args[0]),
            (Kind::Map, other) | (other, Kind::Map) => {
                let help = self.field_of(call);
                self.report(node, format!("{} and {other} cannot be combined", Kind::Map), help);
                return Kind::Any;
            }
            (Kind::Any, other) | (other, Kind::Any) => {
                return if other == Kind::Double { Kind::Double } else { Kind::Any };
            }
            _ if left != right && left != Kind::Time && right != Kind::Time => {
                let message = format!("{left} and {right} cannot be combined");
                self.report(node, message, String::new());
            }
            _ => {}
        }
        if left == Kind::Int && right == Kind::Int { Kind::Int } else { left }
    }

    fn mixed(&mut self, node: &IdedExpr, whole: &IdedExpr) {
        let help = match &whole.expr {
            Expr::Literal(LiteralValue::Int(int)) => format!("write {}.0", int.inner()),
            _ => "write double(…) around the whole number".to_owned(),
        };
        self.report(node, "a floating-point number and a whole number cannot be combined".to_owned(), help);
    }

    fn comparable(&mut self, node: &IdedExpr, call: &CallExpr, (left, right): (Kind, Kind), equality: bool) {
        let number = |kind| matches!(kind, Kind::Double | Kind::Int);
        let maps = left == Kind::Map || right == Kind::Map;
        let untold = left == Kind::Any || right == Kind::Any;
        let alike = left == right || (number(left) && number(right));
        if if maps { equality && (untold || alike) } else { untold || alike } {
            return;
        }
        let mut help = self.field_of(call);
        for side in &call.args {
            if let Some(seconds) = literal_seconds(side) {
                help = format!("times are seconds here: write {seconds}");
            }
        }
        let never = if equality { "are never equal" } else { "cannot be compared" };
        self.report(node, format!("{left} and {right} {never}"), help);
    }

    /// `ready / total >= 0.5` between whole numbers is 0 or 1.
    fn integer_division(&mut self, call: &CallExpr, kinds: &[Kind]) {
        for (side, other) in [(0, 1), (1, 0)] {
            let Expr::Call(division) = &call.args[side].expr else { continue };
            if division.func_name != "_/_" || kinds[other] != Kind::Double || kinds[side] == Kind::Double {
                continue;
            }
            let mut warning = self
                .mistake(&call.args[side], "whole numbers divide to a whole number: 3 / 4 is 0".to_owned());
            warning.help = "write double(…) around one of them".to_owned();
            self.warnings.push(warning);
        }
    }

    fn mistake(&self, node: &IdedExpr, message: String) -> Mistake {
        let offset = offset_of(self.text, self.program, node.id);
        let length = token_length(self.text, offset);
        Mistake { offset, length, message, help: String::new() }
    }

    fn report(&mut self, node: &IdedExpr, message: String, help: String) {
        let mistake = Mistake { help, ..self.mistake(node, message) };
        self.mistakes.push(mistake);
    }
}

/// The seconds of `duration("200ms")` as one would write them.
fn literal_seconds(node: &IdedExpr) -> Option<f64> {
    let Expr::Call(call) = &node.expr else { return None };
    let (true, [argument]) = (call.func_name == "duration", call.args.as_slice()) else { return None };
    let Expr::Literal(LiteralValue::String(text)) = &argument.expr else { return None };
    text.inner().parse::<crate::types::Length>().ok().map(|length| length.as_secs_f64())
}
