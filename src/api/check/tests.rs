use super::*;
#[test]
fn compiles() {
    let _ = read(&[]);
}
