//! The desk: what it takes, what it refuses, and what it does by itself.

use proptest::prelude::*;

use super::*;
use crate::agent::wire::{Cgroup, Direction, Disturbance, Effect, Features, Leg, Nfqueue};

const POD: &str = "0b5c9c9e-9a43-4a4e-8a3c-6f1e9b0a1c2d";

fn limits() -> Limits {
    Limits {
        ttl: Duration::from_secs(10),
        deadline: Duration::from_secs(600),
        delay_max: Duration::from_secs(1),
        loss_max_percent: 100.0,
    }
}

fn run() -> RunId {
    RunId::parse("checkout-abcde").expect("a run")
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A desk with an errand-runner that does nothing and says yes.
struct Agent {
    desk: Desk,
    carried: Vec<Order>,
    lifted: Vec<(InjectionId, String)>,
    ended: bool,
}

impl Agent {
    fn new() -> Self {
        let desk = Desk::new(limits(), run(), Epoch(3));
        Self { desk, carried: Vec::new(), lifted: Vec::new(), ended: false }
    }

    fn greeted() -> Self {
        let mut agent = Self::new();
        assert!(matches!(agent.send(&line(1, 0, Order::Hello), 0)[..], [Report::Ready { .. }]));
        agent
    }

    fn send(&mut self, line: &OrderLine, now: u64) -> Vec<Report> {
        self.raw(&frame::encode(line), now)
    }

    fn raw(&mut self, text: &str, now: u64) -> Vec<Report> {
        let acts = self.desk.take(text, at(now));
        self.carry(acts, now)
    }

    fn wait(&mut self, now: u64) -> Vec<Report> {
        let acts = self.desk.due(at(now));
        self.carry(acts, now)
    }

    /// What is said but for ticks.
    fn carry(&mut self, acts: Vec<Act>, now: u64) -> Vec<Report> {
        let mut said = Vec::new();
        for act in acts {
            match act {
                Act::Say(line) => said.push(line.report),
                Act::Carry(ticket, order) => {
                    let line = self.desk.answer(ticket, &order, Ok(yes(&order)), at(now));
                    self.carried.push(order);
                    said.push(line.report);
                }
                Act::Lift(injection, pod) => self.lifted.push((injection, pod)),
                Act::End(line) => {
                    self.ended = true;
                    said.push(line.report);
                }
            }
        }
        said.retain(|report| *report != Report::Tick);
        said
    }
}

fn yes(order: &Order) -> Report {
    match order.clone() {
        Order::Apply { injection, pod, .. } => Report::Applied { injection, pod },
        Order::Lift { injection } => Report::Lifted { injection, was: true, met: 1 },
        Order::Count { injection } => Report::Counted { injection, met: 1 },
        Order::Kill { injection, pod, .. } => {
            Report::Killed { injection, pod, processes: Vec::new(), seen: Vec::new() }
        }
        Order::Measure { pod, .. } => Report::Measured { pod, rtt_us: vec![1], lost: 0 },
        Order::Enter { pod } => Report::Entered { pod, processes: 1, namespace: 1 },
        Order::Hello | Order::Beat | Order::Leave => Report::Ready {
            agent_version: String::new(),
            features: Features {
                kernel: String::new(),
                arch: String::new(),
                nfqueue: Nfqueue::Native,
                cgroup: Cgroup::V2,
                realtime: true,
                lacking: Vec::new(),
            },
            in_force: Vec::new(),
            ignored: 0,
        },
    }
}

fn line(seq: u64, tick: u64, order: Order) -> OrderLine {
    OrderLine { version: VERSION, run: run(), epoch: Epoch(3), session: "s1".to_owned(), seq, tick, order }
}

fn apply(name: &str, within_ms: u64) -> Order {
    let leg = Leg {
        direction: Direction::Egress,
        peers: Vec::new(),
        except: Vec::new(),
        ports: Vec::new(),
        protocol: None,
    };
    Order::Apply {
        injection: InjectionId::new(name, 1),
        pod: POD.to_owned(),
        disturbance: Disturbance { legs: vec![leg], effect: Effect::Partition },
        within_ms,
    }
}

fn refused(reports: &[Report]) -> Option<RefusalCode> {
    match reports {
        [Report::Refused(refusal)] => {
            assert!(!refusal.why.is_empty() && !refusal.remedy.is_empty());
            Some(refusal.code)
        }
        _ => None,
    }
}

#[test]
fn a_session_is_opened_once_and_its_orders_are_taken_once() {
    let mut agent = Agent::new();
    assert_eq!(refused(&agent.send(&line(1, 0, apply("a", 1000)), 0)), Some(RefusalCode::NoSession));
    agent.send(&line(1, 0, Order::Hello), 100);
    assert_eq!(refused(&agent.send(&line(1, 0, Order::Hello), 100)), Some(RefusalCode::Replayed));
    let order = line(2, 1, apply("a", 60_000));
    assert!(matches!(agent.send(&order, 1200)[..], [Report::Applied { .. }]));
    assert_eq!(refused(&agent.send(&order, 1300)), Some(RefusalCode::Replayed));
    assert_eq!(agent.carried.len(), 2);
    // Another session beside it, as of a runner that attached anew.
    let mut other = line(1, 0, Order::Hello);
    other.session = "s2".to_owned();
    let said = agent.send(&other, 1400);
    assert!(
        matches!(&said[..], [Report::Ready { in_force, .. }] if in_force[..] == [InjectionId::new("a", 1)])
    );
    assert!(agent.send(&line(3, 1, Order::Beat), 1500).is_empty());
}

#[test]
fn an_order_that_was_long_under_way_is_refused() {
    let mut agent = Agent::greeted();
    agent.send(&line(2, 4, Order::Beat), 4_500);
    assert_eq!(refused(&agent.send(&line(3, 0, apply("a", 1000)), 6_000)), Some(RefusalCode::Late));
    assert_eq!(refused(&agent.send(&line(3, 4, apply("a", 1000)), 10_000)), Some(RefusalCode::Late));
    // A tick that was never said is no tick.
    assert_eq!(refused(&agent.send(&line(3, 99, apply("a", 1000)), 10_000)), Some(RefusalCode::Late));
    assert!(matches!(agent.send(&line(3, 5, apply("a", 1000)), 10_999)[..], [Report::Applied { .. }]));
    // What was refused kept nothing alive.
    assert_eq!(agent.desk.silent_from, at(20_999));
}

#[test]
fn a_lower_epoch_is_refused_and_a_higher_one_taken_over() {
    let mut agent = Agent::greeted();
    let mut order = line(2, 0, apply("a", 1000));
    order.epoch = Epoch(2);
    assert_eq!(refused(&agent.send(&order, 10)), Some(RefusalCode::OldEpoch));
    order.epoch = Epoch(4);
    assert_eq!(refused(&agent.send(&order, 10)), Some(RefusalCode::NoSession));
    // The old owner still speaks, until the new one has said hello.
    assert!(agent.send(&line(2, 0, Order::Beat), 20).is_empty());
    let mut hello = line(1, 0, Order::Hello);
    (hello.epoch, hello.session) = (Epoch(4), "s2".to_owned());
    assert!(matches!(agent.send(&hello, 30)[..], [Report::Ready { .. }]));
    assert_eq!(refused(&agent.send(&line(3, 0, apply("a", 1000)), 40)), Some(RefusalCode::OldEpoch));
}

#[test]
fn what_is_for_somebody_else_is_refused() {
    let mut agent = Agent::greeted();
    let mut order = line(2, 0, Order::Beat);
    order.run = RunId::parse("other-run").expect("a run");
    assert_eq!(refused(&agent.send(&order, 10)), Some(RefusalCode::OtherRun));
    let mut order = line(2, 0, Order::Beat);
    order.version = VERSION + 1;
    assert_eq!(refused(&agent.send(&order, 10)), Some(RefusalCode::Version));
    // A newer version may say things that this one cannot read.
    let newer =
        frame::encode(&serde_json::json!({"version": VERSION + 1, "session": "s9", "seq": 7, "what": []}));
    let acts = agent.desk.take(&newer, at(20));
    assert!(matches!(&acts[..], [Act::Say(line)] if (&*line.session, line.seq) == ("s9", 7)), "{acts:?}");
    assert_eq!(refused(&agent.carry(acts, 20)), Some(RefusalCode::Version));
}

#[test]
fn rubbish_is_counted_and_an_unknown_field_is_malformed() {
    let mut agent = Agent::greeted();
    for rubbish in ["x", "fd1 2 00000000 {}", "fd1", "\u{0}\u{0}"] {
        assert!(agent.raw(rubbish, 10).is_empty());
    }
    let mut odd = serde_json::to_value(line(2, 0, apply("a", 1000))).expect("an order");
    odd["order"]["apply"]["alsoThis"] = true.into();
    assert_eq!(refused(&agent.raw(&frame::encode(&odd), 20)), Some(RefusalCode::Malformed));
    let said = agent.send(&line(2, 0, Order::Hello), 30);
    assert!(matches!(said[..], [Report::Ready { ignored: 4, .. }]), "{said:?}");
}

#[test]
fn silence_lifts_everything() {
    let mut agent = Agent::greeted();
    agent.send(&line(2, 0, apply("a", 60_000)), 500);
    assert_eq!(agent.wait(10_499), []);
    let lifted = vec![InjectionId::new("a", 1)];
    assert_eq!(agent.wait(10_500), [Report::Ended { why: End::Silence, lifted }]);
    assert!(agent.ended && agent.desk.in_force().is_empty());
    // An ended agent takes nothing any more.
    assert_eq!(agent.send(&line(3, 10, Order::Beat), 10_600), []);
}

#[test]
fn silence_ends_an_agent_that_nobody_greets() {
    let mut agent = Agent::new();
    assert_eq!(agent.wait(59_999), []);
    assert_eq!(agent.wait(60_000), [Report::Ended { why: End::Silence, lifted: Vec::new() }]);
}

#[test]
fn an_order_after_the_silence_finds_everything_lifted() {
    // The agent was stopped, and nobody looked at the clock in between.
    let mut agent = Agent::greeted();
    agent.send(&line(2, 0, apply("a", 60_000)), 0);
    let said = agent.send(&line(3, 11, Order::Beat), 11_000);
    assert!(matches!(said[..], [Report::Ended { why: End::Silence, .. }]), "{said:?}");
}

#[test]
fn the_deadline_comes_whatever_is_heard() {
    let mut agent = Agent::greeted();
    for second in (0..600).step_by(5) {
        agent.send(&line(2 + second, second, Order::Beat), second * 1000);
    }
    assert_eq!(agent.wait(600_000), [Report::Ended { why: End::Deadline, lifted: Vec::new() }]);
}

#[test]
fn an_injection_ends_by_itself_and_a_replacement_extends_it() {
    let mut agent = Agent::greeted();
    agent.send(&line(2, 0, apply("a", 3000)), 0);
    agent.send(&line(3, 0, apply("b", 5000)), 0);
    agent.send(&line(4, 2, apply("a", 3000)), 2000);
    assert_eq!(agent.wait(4_999), []);
    let expired = |name| Report::Expired { injection: InjectionId::new(name, 1), pod: POD.to_owned() };
    assert_eq!(agent.wait(5_000), [expired("a"), expired("b")]);
    assert_eq!(agent.lifted.len(), 2);
    assert!(agent.desk.in_force().is_empty());
}

#[test]
fn what_could_not_be_replaced_keeps_its_time() {
    let mut agent = Agent::greeted();
    agent.send(&line(2, 0, apply("a", 3000)), 0);
    let acts = agent.desk.take(&frame::encode(&line(3, 0, apply("a", 9000))), at(100));
    let [Act::Carry(ticket, order)] = &acts[..] else { panic!("{acts:?}") };
    let failed = refuse(RefusalCode::Failed, "no", "none");
    agent.desk.answer(ticket.clone(), order, failed, at(100));
    assert!(matches!(agent.wait(3000)[..], [Report::Expired { .. }]));
}

#[test]
fn it_ticks_once_a_second_and_says_when_it_is_due() {
    let mut desk = Desk::new(limits(), run(), Epoch(1));
    assert_eq!(desk.next_due(), at(1000));
    let acts = desk.due(at(1000));
    assert!(matches!(&acts[..], [Act::Say(line)] if line.tick == 1 && line.report == Report::Tick));
    assert!(desk.due(at(1999)).is_empty());
    // It was held up: one tick, not five.
    assert_eq!(desk.due(at(7300)).len(), 1);
    assert_eq!(desk.next_due(), at(8000));
}

#[test]
fn it_leaves_when_asked_and_on_sigterm() {
    let mut agent = Agent::greeted();
    agent.send(&line(2, 0, apply("a", 60_000)), 0);
    let said = agent.send(&line(3, 0, Order::Leave), 10);
    assert!(matches!(&said[..], [Report::Ended { why: End::Left, lifted }] if lifted.len() == 1));
    let mut agent = Agent::greeted();
    let acts = agent.desk.terminate(at(5));
    assert!(matches!(agent.carry(acts, 5)[..], [Report::Ended { why: End::Terminated, .. }]));
}

/// Something that a runner or a stream may do.
#[derive(Clone, Debug)]
enum Event {
    Order { session: u8, seq: u64, lag: u64, epoch: u64, order: u8 },
    Rubbish(Vec<u8>),
    Wait(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let order = (0u8..3, 0u64..12, 0u64..8, 2u64..6, 0u8..8)
        .prop_map(|(session, seq, lag, epoch, order)| Event::Order { session, seq, lag, epoch, order });
    let one = prop_oneof![
        6 => order,
        1 => proptest::collection::vec(any::<u8>(), 0..60).prop_map(Event::Rubbish),
        3 => (0u64..6000).prop_map(Event::Wait),
    ];
    proptest::collection::vec(one, 0..60)
}

proptest! {
    #[test]
    fn an_order_comes_back_from_its_frame(seq in any::<u64>(), within in any::<u64>(), share in 0.0f64..100.0) {
        let mut order = apply("a", within);
        if let Order::Apply { disturbance, .. } = &mut order {
            disturbance.effect = Effect::Loss { share_percent: share };
        }
        let sent = line(seq, 1, order);
        prop_assert_eq!(frame::decode::<OrderLine>(&frame::encode(&sent)), Ok(sent));
    }

    #[test]
    fn what_was_met_comes_back_from_its_frame(met in any::<u64>(), was in any::<bool>(), asked in any::<bool>()) {
        let injection = InjectionId::new("a", 1);
        let report = match asked {
            true => Report::Counted { injection, met },
            false => Report::Lifted { injection, was, met },
        };
        prop_assert_eq!(frame::decode::<Report>(&frame::encode(&report)), Ok(report));
    }

    #[test]
    fn framed_rubbish_is_refused_without_panic(text in "\\PC{0,120}") {
        let mut agent = Agent::greeted();
        let framed = format!("fd1 {} {:08x} {text}", text.len(), crc32fast::hash(text.as_bytes()));
        let reports = agent.raw(&framed, 10);
        prop_assert!(matches!(reports[..], [Report::Refused(_)]), "{:?}", reports);
        prop_assert_eq!(agent.carried.len(), 1);
    }

    /// Whatever comes in whatever order: no order twice, epochs only rise, nothing in force after its time,
    /// and silence ends it.
    #[test]
    fn a_desk_keeps_its_word(events in events()) {
        let mut agent = Agent::new();
        let (mut now, mut taken) = (0u64, std::collections::BTreeSet::new());
        for event in events {
            let before = (agent.desk.epoch, agent.carried.len());
            match event {
                Event::Wait(millis) => {
                    now += millis;
                    agent.wait(now);
                }
                Event::Rubbish(bytes) => {
                    for text in frame::Lines::default().push(&bytes) {
                        agent.raw(&text, now);
                    }
                }
                Event::Order { session, seq, lag, epoch, order } => {
                    let order = match order {
                        0 | 1 => Order::Hello,
                        2 => Order::Lift { injection: InjectionId::new("a", 1) },
                        3 => Order::Beat,
                        7 => Order::Count { injection: InjectionId::new("a", 1) },
                        within => apply(if within % 2 == 0 { "a" } else { "b" }, u64::from(within) * 1000),
                    };
                    let tick = (now / 1000).saturating_sub(lag);
                    let mut sent = line(seq, tick, order.clone());
                    (sent.session, sent.epoch) = (format!("s{session}"), Epoch(epoch));
                    agent.send(&sent, now);
                    if agent.carried.len() > before.1 {
                        prop_assert!(taken.insert((epoch, session, seq)), "taken twice");
                        prop_assert!(Epoch(epoch) >= before.0);
                        prop_assert!(tick + LATE >= now / 1000 || (order == Order::Hello && tick == 0));
                    }
                }
            }
            prop_assert!(agent.desk.epoch >= before.0);
            prop_assert!(agent.ended || agent.desk.in_force.values().all(|until| *until > at(now)));
            prop_assert!(agent.ended || agent.desk.next_due() > at(now));
            prop_assert!(!agent.ended || agent.desk.in_force().is_empty());
        }
    }
}
