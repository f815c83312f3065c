//! Signals to a pod's processes.

use std::{collections::BTreeSet, io};

use rustix::process::{self, PidfdFlags, pidfd_open, pidfd_send_signal};

use super::{
    pods::{self, Census, Member},
    wire::{Process, Refusal, RefusalCode, Signal},
};

/// The name of the sandbox's own process, which is spared unless it is asked for by name: without it the
/// whole pod would have to be made anew.
const SANDBOX: &str = "pause";
/// The kernel keeps so much of a name.
const NAME: usize = 15;

/// So many names are told.
const NAMES: usize = 20;

/// Sends the signal to the pod's processes that fit, and says to which; if to none, the names of those that are there.
///
/// # Errors
/// There is no such pod, or a process could not be sent the signal.
pub fn kill(
    pod: &str,
    container: Option<&str>,
    process: Option<&str>,
    signal: Signal,
) -> Result<(Vec<Process>, Vec<String>), Refusal> {
    let failed = |what: String, remedy: &str| Refusal {
        code: RefusalCode::Failed,
        why: what,
        remedy: remedy.to_owned(),
    };
    let members = Census::default().members(pod).map_err(|error| {
        failed(format!("processes cannot be read: {error}"), "The agent needs hostPID and SYS_PTRACE.")
    })?;
    if members.is_empty() {
        return Err(Refusal {
            code: RefusalCode::NoSuchPod,
            why: format!("no process of pod {pod} is on this node"),
            remedy: "Look where the pod is now, and whether it has started.".to_owned(),
        });
    }
    let mut sent = Vec::new();
    // The oldest of a container last: the kernel ends the others with it.
    for member in members.iter().rev().filter(|member| fits(member, container, process)) {
        match send(pod, member, signal) {
            Ok(true) => sent.push(Process { pid: member.pid, name: member.name.clone() }),
            Ok(false) => {}
            Err(error) if sent.is_empty() => {
                let why = format!("{} ({}): {error}", member.name, member.pid);
                return Err(failed(why, "The agent needs the capability KILL."));
            }
            // What was done is done, and told; what was not done has no entry.
            Err(_) => {}
        }
    }
    let seen = if sent.is_empty() { names(&members, container) } else { Vec::new() };
    Ok((sent, seen))
}

/// What the processes of a container, or of all, are called.
fn names(members: &[Member], container: Option<&str>) -> Vec<String> {
    let there = members.iter().filter(|member| container.is_none_or(|id| member.container == id));
    let names: BTreeSet<&str> = there.map(|member| member.name.as_str()).collect();
    names.into_iter().take(NAMES).map(str::to_owned).collect()
}

fn fits(member: &Member, container: Option<&str>, process: Option<&str>) -> bool {
    container.is_none_or(|id| member.container == id)
        && match process {
            Some(name) => kept(name) == member.name,
            None => member.name != SANDBOX,
        }
}

/// As much of a name as the kernel keeps.
fn kept(name: &str) -> &str {
    let mut end = name.len().min(NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// Whether the signal was sent; false for a process that is gone by now.
fn send(pod: &str, member: &Member, signal: Signal) -> io::Result<bool> {
    let pid = i32::try_from(member.pid).ok().and_then(process::Pid::from_raw);
    let Some(pid) = pid else { return Ok(false) };
    let gone = |error: rustix::io::Errno| {
        if error == rustix::io::Errno::SRCH { Ok(false) } else { Err(error.into()) }
    };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(error) => return gone(error),
    };
    // The descriptor is of one process for good; that it is the one that was found is asked now.
    if pods::member(pod, member.pid).is_none_or(|now| now.started != member.started) {
        return Ok(false);
    }
    match pidfd_send_signal(&process, number(signal)) {
        Ok(()) => Ok(true),
        Err(error) => gone(error),
    }
}

fn number(signal: Signal) -> process::Signal {
    match signal {
        Signal::Kill => process::Signal::KILL,
        Signal::Term => process::Signal::TERM,
        Signal::Int => process::Signal::INT,
        Signal::Quit => process::Signal::QUIT,
        Signal::Hup => process::Signal::HUP,
        Signal::Abrt => process::Signal::ABORT,
        Signal::Segv => process::Signal::SEGV,
        Signal::Usr1 => process::Signal::USR1,
        Signal::Usr2 => process::Signal::USR2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_fits() {
        let member = |name: &str, container: &str| Member {
            pid: 1,
            started: 1,
            name: name.to_owned(),
            container: container.to_owned(),
        };
        let nginx = member("nginx", "c1");
        assert!(fits(&nginx, None, None) && fits(&nginx, Some("c1"), Some("nginx")));
        assert!(!fits(&nginx, Some("c"), None) && !fits(&nginx, None, Some("ngin")));
        // The sandbox only by its name.
        let sandbox = member("pause", "c0");
        assert!(!fits(&sandbox, None, None) && fits(&sandbox, None, Some("pause")));
        assert_eq!(names(&[sandbox, nginx], Some("c1")), ["nginx"]);
        // The kernel cuts names off, wherever that falls.
        assert!(fits(&member("a-very-long-pro", "c1"), None, Some("a-very-long-process")));
        assert_eq!(kept("12345678901234é"), "12345678901234");
    }
}
