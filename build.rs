//! Asks the linker for a smaller program, where it can do so: relative relocations packed, which this machine's C library
//! has to read, are a tenth of it; functions that are the same to the byte, kept once, some hundredths more.

use std::process::Command;

/// The first glibc whose loader reads packed relocations (`DT_RELR`, its release notes of 2022).
const READS_PACKED: (u32, u32) = (2, 36);

/// Where rustc links with lld of itself, and from which version on (its release notes of September 2025).
const LINKS_WITH_LLD: (&str, (u32, u32)) = ("x86_64-unknown-linux-gnu", (1, 90));

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let native = std::env::var("HOST") == std::env::var("TARGET");
    let (target, since) = LINKS_WITH_LLD;
    let lld = std::env::var("TARGET").is_ok_and(|built_for| built_for == target) && !chosen_linker();
    if lld && rustc().is_some_and(|version| version >= since) {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
    if native && glibc().is_some_and(|version| version >= READS_PACKED) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether somebody has chosen a linker, or flags that may.
fn chosen_linker() -> bool {
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    std::env::var_os("RUSTC_LINKER").is_some() || flags.contains("link")
}

/// The version of the compiler.
fn rustc() -> Option<(u32, u32)> {
    let output = Command::new(std::env::var_os("RUSTC")?).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, rest) = text.strip_prefix("rustc ")?.split_once('.')?;
    Some((major.parse().ok()?, rest.split('.').next()?.parse().ok()?))
}

/// The version of the C library of this machine, if it is glibc.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
