//! What `SECURITY.md` says of rights is what the registry asks for.

use firedrill::faults::{self, Right};

const FILE: &str = "SECURITY.md";
const BEGIN: &str = "<!-- rights: written from the registry by `UPDATE_GOLDEN=1 cargo test rights` -->\n";
const END: &str = "<!-- end of rights -->";

fn table() -> String {
    let mut text = String::from("| fault | verb | resource | where |\n|---|---|---|---|\n");
    for info in faults::FAULTS.iter().map(|fault| fault.info()).chain([&faults::LOAD_POD]) {
        for Right { verb, group, resource, cluster_wide } in info.rights {
            let group = if group.is_empty() { String::new() } else { format!(" ({group})") };
            let place = if *cluster_wide { "the whole cluster" } else { "the target's namespace" };
            text.push_str(&format!("| {} | {verb} | {resource}{group} | {place} |\n", info.name));
        }
    }
    text
}

#[test]
fn the_table_of_rights_is_the_registrys() {
    let text = super::text(FILE);
    let (head, rest) = text.split_once(BEGIN).expect("the table has a beginning");
    let (written, tail) = rest.split_once(END).expect("the table has an end");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let text = format!("{head}{BEGIN}{}{END}{tail}", table());
        std::fs::write(super::root().join(FILE), text).expect("the table can be written");
    } else {
        assert_eq!(written, table(), "UPDATE_GOLDEN=1 cargo test rights writes it anew");
    }
}
