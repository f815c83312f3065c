//! Streams, epochs, ends.

use super::*;

#[tokio::test(start_paused = true)]
async fn silence_lifts_all_and_the_pod_succeeds() {
    let world = World::new(5).await;
    let mut talk = world.opened().await;
    talk.order(apply(&world.uid("cart"), vec![leg(Direction::Egress)], latency(100))).await;
    talk.beat(30).await;
    near(world.latency("cart").await, 0.240);
    let rest = talk.rest().await;
    let lifted = vec![InjectionId("slow.0".into())];
    assert_eq!(rest, [Report::Ended { why: End::Silence, lifted }]);
    sleep(60).await;
    near(world.latency("cart").await, 0.040);
    assert_eq!(world.agent()["status"]["phase"], "Succeeded");
    let path = "/api/v1/namespaces/firedrill-agents/pods/firedrill-agent-0/log?container=agent";
    let request = http::Request::get(path).body(Vec::new()).expect("a request");
    let log = world.cluster.sim().client().request_text(request).await.expect("a log");
    let last = log.lines().next_back().map(frame::decode::<ReportLine>).expect("a line").expect("a report");
    assert!(matches!(last.report, Report::Ended { why: End::Silence, .. }), "what it said last stays there");
    let failure = world.try_attach(User::admin()).await.expect_err("it has ended");
    assert!(matches!(failure, AttachFailure::Answered(status) if status.code == 400));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_its_pod_or_of_its_node_lifts_all_at_once() {
    for (grace, why) in [(None, "SIGTERM"), (Some(0), "killed"), (None, "node")] {
        let world = World::new(6).await;
        let mut talk = world.opened().await;
        let uid = world.uid("cart");
        talk.order(apply(&uid, vec![leg(Direction::Egress)], latency(100))).await;
        assert_eq!(world.cluster.metrics().impairments(&uid).len(), 1);
        let store = world.cluster.sim().store();
        let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
        let deleted = if why == "node" {
            let node = world.agent()["spec"]["nodeName"].as_str().expect("bound").to_owned();
            store.delete(&Kind::NODE, "", &node, &options)
        } else {
            store.delete(&Kind::POD, "firedrill-agents", &world.agent, &options)
        };
        deleted.expect("deleted");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(world.cluster.metrics().impairments(&uid).is_empty(), "{why}");
        let rest = talk.rest().await;
        let ended = rest.iter().any(|report| matches!(report, Report::Ended { why: End::Terminated, .. }));
        assert_eq!(ended, why == "SIGTERM", "{why}: {rest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_kubelet_cuts_the_stream_and_the_time_to_live_ends_the_agent() {
    let world = World::new(7).await;
    let mut talk = world.opened().await;
    let uid = world.uid("cart");
    talk.order(apply(&uid, vec![leg(Direction::Egress)], latency(100))).await;
    let node = world.agent()["spec"]["nodeName"].as_str().expect("bound").to_owned();
    let stop = |node: &mut crate::sim::store::Object| {
        node.meta.annotations.insert(crate::sim::annotations::KUBELET.into(), "stopped".into());
        Ok(())
    };
    world.cluster.sim().store().modify(&Kind::NODE, "", &node, stop).expect("a node");
    assert_eq!(talk.rest().await, [], "cut, without a word");
    assert_eq!(world.cluster.metrics().impairments(&uid).len(), 1);
    assert!(world.try_attach(User::admin()).await.is_err());
    sleep(11).await;
    assert!(world.cluster.metrics().impairments(&uid).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_higher_epoch_takes_over_and_the_lower_one_is_refused() {
    let world = World::new(8).await;
    let mut old = world.opened().await;
    let mut new = world.talk("two", 2).await;
    let Report::Ready { .. } = new.order(Order::Hello).await else { panic!("{:?}", new.said) };
    let Report::Refused(refusal) = old.order(lift()).await else { panic!("{:?}", old.said) };
    assert_eq!(refusal.code, RefusalCode::OldEpoch);
    // Both hear all; and what one leaves half written spoils the other's line.
    assert!(old.said.iter().any(|line| line.session == "two"));
    let (half, whole) = (old.line(Order::Beat), new.line(lift()));
    old.stream.write_all(&half.as_bytes()[..half.len() / 2]).await.expect("written");
    sleep(1).await;
    new.stream.write_all(whole.as_bytes()).await.expect("written");
    sleep(1).await;
    new.catch_up().await;
    assert!(!new.said.iter().any(|line| line.session == "two" && line.seq == new.seq));
    assert!(matches!(new.order(lift()).await, Report::Lifted { was: false, .. }));
}

#[tokio::test(start_paused = true)]
async fn mischief_refuses_drops_and_holds_streams() {
    let world = World::new(11).await;
    let mischief = world.cluster.sim().mischief();
    let rule = |action| Rule { matcher: Matcher::on("get", "pods/attach"), turn: Turn::First(1), action };
    mischief.add(rule(Action::Answer(Status::failure(403, "Forbidden", "no"))));
    assert!(
        matches!(world.try_attach(User::admin()).await, Err(AttachFailure::Answered(s)) if s.code == 403)
    );
    mischief.clear();
    mischief.add(rule(Action::DropBeforeCommit));
    assert!(matches!(world.try_attach(User::admin()).await, Err(AttachFailure::Broken(_))));
    mischief.clear();
    let nobody = User::new("nobody", &[]);
    assert!(matches!(world.try_attach(nobody).await, Err(AttachFailure::Answered(s)) if s.code == 403));
    let mut talk = world.opened().await;
    mischief.cut_streams();
    assert!(talk.rest().await.is_empty());
    let mut talk = world.talk("again", 1).await;
    assert!(matches!(talk.order(Order::Hello).await, Report::Ready { .. }), "it has not noticed");
    // Held up for six seconds: an order that comes so late is refused.
    talk.catch_up().await;
    mischief.hold_streams(true);
    let late = talk.line(lift());
    talk.stream.write_all(late.as_bytes()).await.expect("written");
    sleep(6).await;
    mischief.hold_streams(false);
    sleep(1).await;
    talk.catch_up().await;
    let refused = talk.said.iter().find(|line| line.seq == talk.seq && line.session == "again");
    assert!(matches!(refused.map(|l| &l.report), Some(Report::Refused(r)) if r.code == RefusalCode::Late));
    mischief.outage(true);
    assert!(talk.rest().await.is_empty(), "the API server is gone");
    assert!(matches!(world.try_attach(User::admin()).await, Err(AttachFailure::Broken(_))));
}
