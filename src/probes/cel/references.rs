//! Names in an expression against what there is, with the place of each mistake.

use std::collections::BTreeSet;

use cel::Program;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr};

use super::functions::{GLOBAL, MACROS, MEMBER};
use super::{MAX_DEPTH, MAX_LOOPS, Variable};

/// Something in an expression that is wrong, or probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Byte offset in the expression.
    pub offset: usize,
    /// Length in bytes.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead; empty if the message says it.
    pub help: String,
}

/// What an expression refers to.
pub(super) struct Examined {
    pub variables: Vec<String>,
    /// What stands behind `params.`
    pub parameters: Vec<String>,
    pub mistakes: Vec<Mistake>,
    pub depth: usize,
}

/// Names of types, which are values too: `type(x) == int`.
const TYPES: &[&str] =
    &["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
/// Namespaces of functions.
const NAMESPACES: &[&str] = &["optional", "strings", "lists"];

/// What `baseline` and `window` hold (format.md, section 3).
const STATISTICS: &[&str] = &["min", "max", "mean", "p50", "p95", "p99", "first", "last", "count"];

pub(super) fn examine(text: &str, program: &Program, variables: &[Variable]) -> Examined {
    let mut walk = Walk {
        text,
        program,
        known: variables,
        scope: Vec::new(),
        used: BTreeSet::new(),
        parameters: BTreeSet::new(),
        mistakes: Vec::new(),
        depth: 0,
    };
    walk.visit(program.expression(), 0, 0);
    Examined {
        variables: walk.used.into_iter().collect(),
        parameters: walk.parameters.into_iter().collect(),
        mistakes: walk.mistakes,
        depth: walk.depth,
    }
}

/// The byte at which a node was written.
pub(super) fn offset_of(text: &str, program: &Program, id: u64) -> usize {
    let start = program.source_info().offset_for(id).map_or(0, |(start, _)| start as usize);
    (0..=start.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The length of the name or operator that stands at a byte.
pub(super) fn token_length(text: &str, offset: usize) -> usize {
    let rest = text.get(offset..).unwrap_or_default();
    let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    word.max(rest.chars().next().map_or(0, char::len_utf8))
}

struct Walk<'a> {
    text: &'a str,
    program: &'a Program,
    known: &'a [Variable],
    scope: Vec<&'a str>,
    used: BTreeSet<String>,
    parameters: BTreeSet<String>,
    mistakes: Vec<Mistake>,
    depth: usize,
}

impl<'a> Walk<'a> {
    fn mistake(&mut self, id: u64, message: String, help: String) {
        let offset = offset_of(self.text, self.program, id);
        let length = token_length(self.text, offset);
        self.mistakes.push(Mistake { offset, length, message, help });
    }

    fn visit(&mut self, node: &'a IdedExpr, depth: usize, loops: usize) {
        if depth > MAX_DEPTH {
            if self.mistakes.is_empty() {
                self.mistake(node.id, format!("nested more than {MAX_DEPTH} deep"), String::new());
            }
            return;
        }
        let depth = depth + 1;
        self.depth = self.depth.max(depth);
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => self.variable(node.id, name),
            Expr::Select(select) => {
                self.statistic(node.id, &select.operand.expr, &select.field);
                self.visit(&select.operand, depth, loops);
            }
            Expr::List(list) => list.elements.iter().for_each(|item| self.visit(item, depth, loops)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr, depth, loops)),
            Expr::Struct(object) => {
                let message = format!("`{}{{}}` is not a type that can be made here", object.type_name);
                self.mistake(node.id, message, String::new());
            }
            Expr::Call(call) => self.call(node.id, call, depth, loops),
            Expr::Comprehension(over) => {
                self.visit(&over.iter_range, depth, loops);
                if loops >= MAX_LOOPS {
                    let message = format!("loops stand more than {MAX_LOOPS} deep in each other");
                    return self.mistake(node.id, message, String::new());
                }
                let before = self.scope.len();
                self.scope.extend([over.iter_var.as_str(), over.accu_var.as_str()]);
                self.scope.extend(over.iter_var2.as_deref());
                for part in [&over.accu_init, &over.loop_cond, &over.loop_step, &over.result] {
                    self.visit(part, depth, loops + 1);
                }
                self.scope.truncate(before);
            }
        }
    }

    fn entry(&mut self, entry: &'a EntryExpr, depth: usize, loops: usize) {
        match entry {
            EntryExpr::StructField(field) => self.visit(&field.value, depth, loops),
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key, depth, loops);
                self.visit(&entry.value, depth, loops);
            }
        }
    }

    fn variable(&mut self, id: u64, name: &'a str) {
        if name.starts_with('@') || self.scope.contains(&name) || TYPES.contains(&name) {
            return;
        }
        if self.known.iter().any(|variable| variable.name == name) {
            self.used.insert(name.to_owned());
            return;
        }
        let names: Vec<&str> = self.known.iter().map(|variable| variable.name).collect();
        let help = match crate::types::nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", names.join(", ")),
        };
        self.mistake(id, format!("there is no variable `{name}` here"), help);
    }

    /// `baseline.avg`: there is no such statistic. `params.app`: taken down, the file knows which there are.
    fn statistic(&mut self, id: u64, operand: &Expr, field: &str) {
        let Expr::Ident(name) = operand else { return };
        if name == "params" && !self.scope.contains(&"params") {
            self.parameters.insert(field.to_owned());
        }
        let of_statistics = matches!(name.as_str(), "baseline" | "window")
            && !self.scope.contains(&name.as_str())
            && self.known.iter().any(|variable| variable.name == name);
        if of_statistics && !STATISTICS.contains(&field) {
            let help = match crate::types::nearest(field, STATISTICS.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", STATISTICS.join(", ")),
            };
            self.mistake(id, format!("`{name}` has no `{field}`"), help);
        }
    }

    fn call(&mut self, id: u64, call: &'a CallExpr, depth: usize, loops: usize) {
        let name = call.func_name.as_str();
        let operator = name.starts_with(['_', '!', '-', '@', '['])
            || matches!(name, "in" | "optional.of" | "optional.none");
        match &call.target {
            None if !operator && !GLOBAL.contains(&name) => self.function(id, name, GLOBAL, MEMBER),
            Some(target) => match &target.expr {
                Expr::Ident(space) if NAMESPACES.contains(&space.as_str()) => {
                    let full = format!("{space}.{name}");
                    if !GLOBAL.contains(&full.as_str()) {
                        self.function(id, &full, GLOBAL, &[]);
                    }
                }
                _ => {
                    if !operator && !MEMBER.contains(&name) {
                        self.function(id, name, MEMBER, GLOBAL);
                    }
                    self.visit(target, depth, loops);
                }
            },
            None => {}
        }
        call.args.iter().for_each(|argument| self.visit(argument, depth, loops));
    }

    fn function(&mut self, id: u64, name: &str, here: &[&str], elsewhere: &[&str]) {
        let help = if elsewhere.contains(&name) {
            if here == MEMBER { format!("write {name}(x)") } else { format!("write x.{name}()") }
        } else if MACROS.contains(&name) {
            format!("`{name}` is used with other arguments, for example list.all(x, x > 0)")
        } else if name.starts_with("math.") {
            "compare with ? : instead".to_owned()
        } else {
            match crate::types::nearest(name, here.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => String::new(),
            }
        };
        self.mistake(id, format!("there is no function `{name}`"), help);
    }
}
