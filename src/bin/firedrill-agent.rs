//! The command `firedrill-agent`; everything is in the library.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    firedrill::agent::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("firedrill-agent runs on the nodes of a cluster, which are Linux");
    std::process::ExitCode::from(2)
}
