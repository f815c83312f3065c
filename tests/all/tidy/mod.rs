//! The rules of the code, held by reading it: who may import whom, what may wait, sizes, words, codes, and
//! the list of pitfalls. Each rule is a test; a file that breaks one is named with its line.

mod codes;
mod imports;
mod pitfalls;
mod purity;
mod rights;
mod sizes;
mod source;
mod tree;

use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the checkout as text, by its path from the root.
pub fn text(path: &str) -> String {
    let full = root().join(path);
    std::fs::read_to_string(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()))
}

/// Every file of the checkout: what git tracks or would track; without git, everything but `target` and
/// dot folders.
pub fn files() -> Vec<String> {
    let mut git = std::process::Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let mut files = match git.output() {
        Ok(output) if output.status.success() => {
            let listed = String::from_utf8_lossy(&output.stdout).into_owned();
            listed.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect()
        }
        _ => walked(&root()),
    };
    // What git tracks and somebody has just deleted.
    files.retain(|path| root().join(path).is_file());
    files.sort();
    assert!(files.iter().any(|path| path == "src/lib.rs"), "the checkout was not found");
    files
}

fn walked(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the checkout can be read") {
            let path = entry.expect("an entry of the checkout can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && (!name.starts_with('.') || name == ".ci") {
                    folders.push(path);
                }
            } else if let Ok(path) = path.strip_prefix(root()) {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found
}

/// Fails with everything that is wrong, one a line.
pub fn nothing_wrong(rule: &str, wrong: &[String]) {
    assert!(wrong.is_empty(), "{rule}:\n  {}", wrong.join("\n  "));
}
