//! What Kubernetes adds to CEL's lists (k8s.io/apiserver/pkg/cel/library/lists.go), and the names of
//! every function that expressions may call.

use cel::common::types::{CelBool, CelDouble, CelInt, LIST_TYPE};
use cel::common::value::CowVal;
use cel::{DeclarationError, Env, ExecutionError};

/// Functions called as `name(x)`.
pub(super) const GLOBAL: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "int",
    "isQuantity",
    "lists.range",
    "matches",
    "optional.none",
    "optional.of",
    "optional.ofNonZeroValue",
    "quantity",
    "size",
    "string",
    "strings.quote",
    "timestamp",
    "type",
    "uint",
];

/// Functions called as `x.name()`.
pub(super) const MEMBER: &[&str] = &[
    "add",
    "asApproximateFloat",
    "asInteger",
    "charAt",
    "compareTo",
    "contains",
    "distinct",
    "endsWith",
    "flatten",
    "format",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "hasValue",
    "indexOf",
    "isGreaterThan",
    "isInteger",
    "isLessThan",
    "isSorted",
    "join",
    "lastIndexOf",
    "lowerAscii",
    "matches",
    "max",
    "min",
    "or",
    "orValue",
    "replace",
    "reverse",
    "sign",
    "size",
    "slice",
    "sort",
    "split",
    "startsWith",
    "sub",
    "substring",
    "sum",
    "trim",
    "upperAscii",
    "value",
];

/// Macros, expanded while compiling.
pub(super) const MACROS: &[&str] =
    &["has", "all", "exists", "exists_one", "map", "filter", "optMap", "optFlatMap", "sortBy"];

/// Registers `sum`, `min`, `max` and `isSorted` of lists.
pub(super) fn extension(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_member_overload("sum", "list.sum()", LIST_TYPE, vec![], sum)?;
    env.add_member_overload("min", "list.min()", LIST_TYPE, vec![], |args| extreme(args, "min", f64::lt))?;
    env.add_member_overload("max", "list.max()", LIST_TYPE, vec![], |args| extreme(args, "max", f64::gt))?;
    env.add_member_overload("isSorted", "list.isSorted()", LIST_TYPE, vec![], is_sorted)
}

/// The numbers of a list: as doubles, and whether all were ints.
fn numbers(args: &[CowVal<'_, '_>], function: &str) -> Result<(Vec<f64>, bool), ExecutionError> {
    let wrong = |what: &str| ExecutionError::function_error(function, format!("needs numbers, found {what}"));
    let list = args.first().and_then(|list| list.as_iterable()).ok_or_else(|| wrong("no list"))?;
    let mut found = Vec::new();
    let mut ints = true;
    let mut items = list.iter();
    while let Some(item) = items.next() {
        if let Some(int) = item.downcast_ref::<CelInt>() {
            found.push(*int.inner() as f64);
        } else if let Some(double) = item.downcast_ref::<CelDouble>() {
            ints = false;
            found.push(*double.inner());
        } else {
            return Err(wrong(item.get_type().name()));
        }
    }
    Ok((found, ints))
}

fn number<'b, 'v>(value: f64, int: bool) -> CowVal<'b, 'v> {
    if int { CowVal::owned(CelInt::from(value as i64)) } else { CowVal::owned(CelDouble::from(value)) }
}

fn sum<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (numbers, ints) = numbers(&args, "sum")?;
    Ok(number(numbers.iter().sum(), ints))
}

fn extreme<'b, 'v>(
    args: Vec<CowVal<'b, 'v>>,
    name: &str,
    better: fn(&f64, &f64) -> bool,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (numbers, ints) = numbers(&args, name)?;
    let best = numbers.into_iter().reduce(|best, next| if better(&next, &best) { next } else { best });
    let best = best.ok_or_else(|| ExecutionError::no_such_key(&format!("{name} of an empty list")))?;
    Ok(number(best, ints))
}

fn is_sorted<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (numbers, _) = numbers(&args, "isSorted")?;
    Ok(CowVal::owned(CelBool::from(numbers.is_sorted())))
}
