//! From the parser's syntax tree to the closed set of operations that are evaluated: what is not in
//! it is named as unsupported, so that the evaluator has no "other" case.

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::token::{self, TokenType};
use promql_parser::parser::{
    AggregateExpr, AtModifier, BinaryExpr, Call, Expr, LabelModifier, MatrixSelector, Offset, SubqueryExpr,
    VectorMatchCardinality, VectorSelector,
};
use std::time::{Duration, UNIX_EPOCH};

use super::functions::{InstantFn, Math};
use super::over_time::RangeFn;
use super::{DEFAULT_SUBQUERY_STEP_MS, MAX_DEPTH, Unsupported};
use crate::sim::metrics::series::METRIC_NAME;

/// A lowered query: the operations and the selectors that they refer to by index.
pub struct Program {
    pub root: Node,
    pub selectors: Vec<Selector>,
}

/// A fixed evaluation time (`@`).
#[derive(Clone, Copy, Debug)]
pub enum At {
    Start,
    End,
    Millis(i64),
}

/// A vector or matrix selector, and how far the subqueries around it reach back.
pub struct Selector {
    pub matchers: Vec<Matcher>,
    pub offset: i64,
    pub at: Option<At>,
    /// Length of the range in milliseconds; `None` for an instant selector.
    pub range: Option<i64>,
    /// Sum of ranges and of offsets of the enclosing subqueries.
    pub outer_range: i64,
    pub outer_offset: i64,
}

/// One operation.
pub enum Node {
    Number(f64),
    Text(String),
    Vector(usize),
    /// A range selector alone; only at the root of an instant query.
    Matrix(usize),
    Neg(Box<Node>),
    Aggregate(Aggregate),
    Binary(Box<Binary>),
    Time,
    Timestamp(Box<Node>),
    Scalar(Box<Node>),
    ToVector(Box<Node>),
    Absent(Box<Node>, Vec<(String, String)>),
    AbsentOverTime(RangeArg, Vec<(String, String)>),
    HistogramQuantile(Box<Node>, Box<Node>),
    Instant {
        func: InstantFn,
        arg: Box<Node>,
        params: Vec<Node>,
    },
    OverTime {
        func: RangeFn,
        arg: RangeArg,
        param: Option<Box<Node>>,
    },
}

/// The range vector that a function reads.
pub enum RangeArg {
    Selector(usize),
    Subquery { inner: Box<Node>, range: i64, step: i64, offset: i64 },
}

/// Aggregation operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    Quantile,
}

/// An aggregation with its grouping.
pub struct Aggregate {
    pub op: AggregateOp,
    pub arg: Box<Node>,
    pub param: Option<Box<Node>>,
    /// `without` rather than `by`.
    pub without: bool,
    pub grouping: Vec<String>,
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
    And,
    Or,
    Unless,
}

impl Op {
    pub fn is_comparison(self) -> bool {
        matches!(self, Op::Eq | Op::Ne | Op::Gt | Op::Ge | Op::Lt | Op::Le)
    }
}

/// Which side may have several elements per match group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    OneToOne,
    ManyToOne,
    OneToMany,
}

/// A binary operation with its vector matching.
pub struct Binary {
    pub op: Op,
    pub lhs: Node,
    pub rhs: Node,
    pub return_bool: bool,
    pub card: Cardinality,
    /// `on` rather than `ignoring`.
    pub on: bool,
    pub labels: Vec<String>,
    /// Labels that `group_left` or `group_right` copies from the "one" side.
    pub include: Vec<String>,
}

pub fn lower(expr: &Expr) -> Result<Program, Unsupported> {
    let mut lowering = Lowering { selectors: Vec::new(), outer_range: 0, outer_offset: 0, depth: 0 };
    let root = match unwrap_parens(expr) {
        Expr::MatrixSelector(m) => Node::Matrix(lowering.matrix_selector(m)?),
        other => lowering.node(other)?,
    };
    Ok(Program { root, selectors: lowering.selectors })
}

fn unsupported<T>(name: impl Into<String>) -> Result<T, Unsupported> {
    Err(Unsupported { name: name.into() })
}

fn unwrap_parens(mut expr: &Expr) -> &Expr {
    while let Expr::Paren(p) = expr {
        expr = &p.expr;
    }
    expr
}

/// Longest duration in milliseconds, some 30,000 years: sums of a few never overflow.
const LONGEST_MS: i64 = 1_000_000_000_000_000;

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(LONGEST_MS).min(LONGEST_MS)
}

fn offset_millis(offset: &Option<Offset>) -> i64 {
    match offset {
        None => 0,
        Some(Offset::Pos(d)) => millis(*d),
        Some(Offset::Neg(d)) => -millis(*d),
    }
}

struct Lowering {
    selectors: Vec<Selector>,
    outer_range: i64,
    outer_offset: i64,
    depth: usize,
}

impl Lowering {
    fn boxed(&mut self, expr: &Expr) -> Result<Box<Node>, Unsupported> {
        self.node(expr).map(Box::new)
    }

    fn node(&mut self, expr: &Expr) -> Result<Node, Unsupported> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return unsupported(format!("an expression nested more than {MAX_DEPTH} levels deep"));
        }
        let node = match unwrap_parens(expr) {
            Expr::NumberLiteral(n) => Ok(Node::Number(n.val)),
            Expr::StringLiteral(s) => Ok(Node::Text(s.val.clone())),
            Expr::VectorSelector(v) => self.selector(v, None).map(Node::Vector),
            Expr::Unary(u) => self.boxed(&u.expr).map(Node::Neg),
            Expr::Aggregate(a) => self.aggregate(a),
            Expr::Binary(b) => self.binary(b),
            Expr::Call(c) => self.call(c),
            Expr::MatrixSelector(_) => unsupported("a range vector in this place"),
            Expr::Subquery(_) => unsupported("a subquery outside a function"),
            Expr::Paren(_) | Expr::Extension(_) => unsupported("an extension of the syntax"),
        };
        self.depth -= 1;
        node
    }

    fn selector(&mut self, v: &VectorSelector, range: Option<i64>) -> Result<usize, Unsupported> {
        if !v.matchers.or_matchers.is_empty() {
            return unsupported("`or` between label matchers");
        }
        let name = v.name.as_deref().map(|n| Matcher::new(MatchOp::Equal, METRIC_NAME, n));
        let at = match &v.at {
            None => None,
            Some(AtModifier::Start) => Some(At::Start),
            Some(AtModifier::End) => Some(At::End),
            Some(AtModifier::At(time)) => Some(At::Millis(match time.duration_since(UNIX_EPOCH) {
                Ok(after) => millis(after),
                Err(before) => -millis(before.duration()),
            })),
        };
        self.selectors.push(Selector {
            matchers: name.into_iter().chain(v.matchers.matchers.iter().cloned()).collect(),
            offset: offset_millis(&v.offset),
            at,
            range,
            outer_range: self.outer_range,
            outer_offset: self.outer_offset,
        });
        Ok(self.selectors.len() - 1)
    }

    fn matrix_selector(&mut self, m: &MatrixSelector) -> Result<usize, Unsupported> {
        self.selector(&m.vs, Some(millis(m.range)))
    }

    fn range_arg(&mut self, expr: &Expr) -> Result<RangeArg, Unsupported> {
        match unwrap_parens(expr) {
            Expr::MatrixSelector(m) => self.matrix_selector(m).map(RangeArg::Selector),
            Expr::Subquery(s) => self.subquery(s),
            _ => unsupported("a range vector that is neither a selector nor a subquery"),
        }
    }

    fn subquery(&mut self, s: &SubqueryExpr) -> Result<RangeArg, Unsupported> {
        if s.at.is_some() {
            return unsupported("`@` on a subquery");
        }
        let (range, offset) = (millis(s.range), offset_millis(&s.offset));
        let step = s.step.map_or(DEFAULT_SUBQUERY_STEP_MS, millis);
        if step <= 0 {
            return unsupported("a subquery with a step of zero");
        }
        self.outer_range += range;
        self.outer_offset += offset;
        let inner = self.boxed(&s.expr);
        self.outer_range -= range;
        self.outer_offset -= offset;
        Ok(RangeArg::Subquery { inner: inner?, range, step, offset })
    }

    fn aggregate(&mut self, a: &AggregateExpr) -> Result<Node, Unsupported> {
        let op = match a.op.id() {
            token::T_SUM => AggregateOp::Sum,
            token::T_AVG => AggregateOp::Avg,
            token::T_MIN => AggregateOp::Min,
            token::T_MAX => AggregateOp::Max,
            token::T_COUNT => AggregateOp::Count,
            token::T_GROUP => AggregateOp::Group,
            token::T_STDDEV => AggregateOp::Stddev,
            token::T_STDVAR => AggregateOp::Stdvar,
            token::T_TOPK => AggregateOp::Topk,
            token::T_BOTTOMK => AggregateOp::Bottomk,
            token::T_QUANTILE => AggregateOp::Quantile,
            _ => return unsupported(format!("aggregation `{}`", a.op)),
        };
        let param = a.param.as_ref().map(|p| self.boxed(p)).transpose()?;
        let (without, grouping) = match &a.modifier {
            None => (false, Vec::new()),
            Some(LabelModifier::Include(l)) => (false, l.labels.clone()),
            Some(LabelModifier::Exclude(l)) => (true, l.labels.clone()),
        };
        Ok(Node::Aggregate(Aggregate { op, arg: self.boxed(&a.expr)?, param, without, grouping }))
    }

    fn binary(&mut self, b: &BinaryExpr) -> Result<Node, Unsupported> {
        let op = binary_op(&b.op)?;
        let mut node = Binary {
            op,
            lhs: self.node(&b.lhs)?,
            rhs: self.node(&b.rhs)?,
            return_bool: b.return_bool(),
            card: Cardinality::OneToOne,
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
        };
        let Some(modifier) = &b.modifier else {
            return Ok(Node::Binary(Box::new(node)));
        };
        if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
            return unsupported("binary operator modifier `fill`");
        }
        node.on = modifier.is_matching_on();
        node.labels = modifier.matching.as_ref().map_or_else(Vec::new, |m| m.labels().labels.clone());
        match &modifier.card {
            VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => {}
            VectorMatchCardinality::ManyToOne(l) => {
                node.card = Cardinality::ManyToOne;
                node.include = l.labels.clone();
            }
            VectorMatchCardinality::OneToMany(l) => {
                node.card = Cardinality::OneToMany;
                node.include = l.labels.clone();
            }
        }
        Ok(Node::Binary(Box::new(node)))
    }

    fn call(&mut self, call: &Call) -> Result<Node, Unsupported> {
        let name = call.func.name;
        let args: Vec<&Expr> = call.args.args.iter().map(|a| &**a).collect();
        if let Some((func, param, range)) = over_time(name, &args) {
            let param = param.map(|p| self.boxed(p)).transpose()?;
            return Ok(Node::OverTime { func, arg: self.range_arg(range)?, param });
        }
        match (name, args.as_slice()) {
            ("time", []) => Ok(Node::Time),
            ("timestamp", [v]) => self.boxed(v).map(Node::Timestamp),
            ("scalar", [v]) => self.boxed(v).map(Node::Scalar),
            ("vector", [s]) => self.boxed(s).map(Node::ToVector),
            ("absent", [v]) => Ok(Node::Absent(self.boxed(v)?, absent_labels(v))),
            ("absent_over_time", [m]) => Ok(Node::AbsentOverTime(self.range_arg(m)?, absent_labels(m))),
            ("histogram_quantile", [q, v]) => Ok(Node::HistogramQuantile(self.boxed(q)?, self.boxed(v)?)),
            (_, [v, params @ ..]) => match instant_function(name) {
                Some(func) => {
                    let arg = self.boxed(v)?;
                    let params = params.iter().map(|p| self.node(p)).collect::<Result<_, _>>()?;
                    Ok(Node::Instant { func, arg, params })
                }
                None => unsupported(format!("function `{name}`")),
            },
            _ => unsupported(format!("function `{name}`")),
        }
    }
}

fn binary_op(op: &TokenType) -> Result<Op, Unsupported> {
    Ok(match op.id() {
        token::T_ADD => Op::Add,
        token::T_SUB => Op::Sub,
        token::T_MUL => Op::Mul,
        token::T_DIV => Op::Div,
        token::T_MOD => Op::Mod,
        token::T_POW => Op::Pow,
        token::T_EQLC => Op::Eq,
        token::T_NEQ => Op::Ne,
        token::T_GTR => Op::Gt,
        token::T_GTE => Op::Ge,
        token::T_LSS => Op::Lt,
        token::T_LTE => Op::Le,
        token::T_LAND => Op::And,
        token::T_LOR => Op::Or,
        token::T_LUNLESS => Op::Unless,
        _ => return unsupported(format!("operator `{op}`")),
    })
}

/// The function over a range vector of that name, its scalar parameter and its range argument.
fn over_time<'a>(name: &str, args: &[&'a Expr]) -> Option<(RangeFn, Option<&'a Expr>, &'a Expr)> {
    let func = match (name, args) {
        ("quantile_over_time", [q, range]) => return Some((RangeFn::Quantile, Some(*q), *range)),
        ("rate", _) => RangeFn::Rate,
        ("increase", _) => RangeFn::Increase,
        ("delta", _) => RangeFn::Delta,
        ("irate", _) => RangeFn::Irate,
        ("idelta", _) => RangeFn::Idelta,
        ("changes", _) => RangeFn::Changes,
        ("resets", _) => RangeFn::Resets,
        ("sum_over_time", _) => RangeFn::Sum,
        ("avg_over_time", _) => RangeFn::Avg,
        ("min_over_time", _) => RangeFn::Min,
        ("max_over_time", _) => RangeFn::Max,
        ("count_over_time", _) => RangeFn::Count,
        ("last_over_time", _) => RangeFn::Last,
        ("present_over_time", _) => RangeFn::Present,
        ("stddev_over_time", _) => RangeFn::Stddev,
        ("stdvar_over_time", _) => RangeFn::Stdvar,
        _ => return None,
    };
    match args {
        [range] => Some((func, None, *range)),
        _ => None,
    }
}

fn instant_function(name: &str) -> Option<InstantFn> {
    Some(match name {
        "abs" => InstantFn::Math(Math::Abs),
        "ceil" => InstantFn::Math(Math::Ceil),
        "floor" => InstantFn::Math(Math::Floor),
        "sqrt" => InstantFn::Math(Math::Sqrt),
        "sgn" => InstantFn::Math(Math::Sgn),
        "round" => InstantFn::Round,
        "clamp" => InstantFn::Clamp,
        "clamp_min" => InstantFn::ClampMin,
        "clamp_max" => InstantFn::ClampMax,
        "sort" => InstantFn::Sort { descending: false },
        "sort_desc" => InstantFn::Sort { descending: true },
        _ => return None,
    })
}

/// Labels that `absent` gives its one element: those that the selector pins by `=` exactly once
/// (Prometheus: promql/functions.go, `createLabelsForAbsentFunction`).
fn absent_labels(arg: &Expr) -> Vec<(String, String)> {
    let matchers = match unwrap_parens(arg) {
        Expr::VectorSelector(v) => &v.matchers.matchers,
        Expr::MatrixSelector(m) => &m.vs.matchers.matchers,
        _ => return Vec::new(),
    };
    let named = |m: &&Matcher| m.name != METRIC_NAME;
    let once = |m: &&Matcher| matchers.iter().filter(|o| o.name == m.name).count() == 1;
    let pinned = matchers.iter().filter(named).filter(|m| matches!(m.op, MatchOp::Equal)).filter(once);
    pinned.map(|m| (m.name.clone(), m.value.clone())).collect()
}
