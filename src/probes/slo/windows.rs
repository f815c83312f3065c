//! A query over another window than the one that it was written for. Pure.

use std::time::Duration;

use promql_parser::parser::Expr;

/// The query with every range replaced by `window`; None if it does not parse.
pub(super) fn over(query: &str, window: Duration) -> Option<String> {
    let mut expr = promql_parser::parser::parse(query).ok()?;
    replace(&mut expr, window);
    Some(expr.to_string())
}

fn replace(expr: &mut Expr, window: Duration) {
    match expr {
        Expr::MatrixSelector(matrix) => matrix.range = window,
        Expr::Aggregate(aggregate) => {
            replace(&mut aggregate.expr, window);
            if let Some(param) = &mut aggregate.param {
                replace(param, window);
            }
        }
        Expr::Unary(unary) => replace(&mut unary.expr, window),
        Expr::Binary(binary) => {
            replace(&mut binary.lhs, window);
            replace(&mut binary.rhs, window);
        }
        Expr::Paren(paren) => replace(&mut paren.expr, window),
        Expr::Subquery(subquery) => replace(&mut subquery.expr, window),
        Expr::Call(call) => call.args.args.iter_mut().for_each(|argument| replace(argument, window)),
        Expr::VectorSelector(_) | Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_is_replaced_and_nothing_else_is() {
        let query = r#"sum by (app) (rate(a_total{code!~"5.."}[1m])) + 2 * (increase(b_total[5m]) - -irate(c_total[30s]))"#;
        let hour = over(query, Duration::from_secs(3600)).expect("PromQL");
        assert_eq!(hour.matches("[1h]").count(), 3, "{hour}");
        assert_eq!(over(&hour, Duration::from_secs(3600)), Some(hour.clone()), "it reads back as it is");
        assert_eq!(over("sum(", Duration::from_secs(1)), None);
    }
}
