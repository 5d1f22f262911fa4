//! Bad input, secrets, namespaces and logs.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use provider::{
    DEFAULT_NAMESPACE, Error, LogLine, LogQuery, Name, Namespace, Result, Secret, Target,
};

use crate::support::{Backend, Watcher, deploy, name, namespaces, scale, soon};

pub(crate) async fn what_is_not_there_is_not_found(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    let none = name("none");
    assert!(matches!(provider.remove(&none).await, Err(Error::NotFound(_))));
    for to in [Target::Replicas(1), Target::Replicas(0), Target::Frozen] {
        assert!(matches!(provider.scale(&none, to).await, Err(Error::NotFound(_))));
    }
    let logs = provider.logs(query(&none)).await;
    assert!(matches!(logs.err(), Some(Error::NotFound(_))));
}

pub(crate) async fn bad_input_is_named_and_leaves_nothing(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    let good = || backend.good("echo", "v1");
    let with = |change: fn(&mut provider::Function)| {
        let mut function = good();
        change(&mut function);
        function
    };
    let bad = [
        ("secrets", with(|f| f.secrets = vec!["missing".to_owned()])),
        ("namespace", with(|f| f.namespace = "nowhere".to_owned())),
        ("service", with(|f| f.service = "../echo".to_owned())),
        ("image", with(|f| f.image = String::new())),
        ("image", with(|f| f.image = "a b".to_owned())),
    ];
    for (field, function) in bad {
        match provider.apply(&function).await {
            Err(Error::Invalid { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    assert!(Watcher::new(&provider).await.now.is_empty());
    assert_eq!(backend.leftovers().await, Vec::<String>::new());

    // What cannot be deployed does not harm what is.
    let mut watcher = Watcher::new(&provider).await;
    deploy(&*backend, &mut watcher, &good()).await;
    let error = provider.apply(&with(|f| f.secrets = vec!["missing".to_owned()])).await;
    assert!(error.unwrap_err().to_string().contains("missing"));
    assert_eq!(Watcher::new(&provider).await.now[&name("echo")].ready().count(), 1);
}

fn secret(name: &str, namespace: &str, value: &str) -> Secret {
    let (name, namespace) = (name.to_owned(), namespace.to_owned());
    Secret { name, namespace, value: Some(value.to_owned()), raw_value: None }
}

pub(crate) async fn secrets_go_in_and_never_out(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    let secrets = provider.secrets();
    assert!(secrets.list("").await.unwrap().is_empty());
    secrets.create(&secret("b", "", "1")).await.unwrap();
    secrets.create(&secret("a", DEFAULT_NAMESPACE, "2")).await.unwrap();
    let again = secrets.create(&secret("a", "", "3")).await;
    assert!(matches!(again, Err(Error::Exists(_))));
    let listed = secrets.list("").await.unwrap();
    let names: Vec<_> = listed.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(listed.iter().all(|s| s.value.is_none() && s.raw_value.is_none()));
    assert!(listed.iter().all(|s| s.namespace == DEFAULT_NAMESPACE));

    secrets.update(&secret("a", "", "4")).await.unwrap();
    let absent = secrets.update(&secret("c", "", "5")).await;
    assert!(matches!(absent, Err(Error::NotFound(_))));
    let nowhere = secrets.create(&secret("a", "nowhere", "6")).await.unwrap_err();
    assert!(matches!(&nowhere, Error::Invalid { field, .. } if field == "namespace"), "{nowhere}");

    let mut watcher = Watcher::new(&provider).await;
    let mut function = backend.good("echo", "v1");
    function.secrets = vec!["a".to_owned()];
    deploy(&*backend, &mut watcher, &function).await;
    secrets.remove("b", "").await.unwrap();
    assert!(matches!(secrets.remove("b", "").await, Err(Error::NotFound(_))));
    assert_eq!(secrets.list("").await.unwrap().len(), 1);
}

pub(crate) async fn namespaces_come_and_go(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    let spaces = namespaces(&*provider);
    let names = |all: Vec<Namespace>| all.into_iter().map(|n| n.name).collect::<Vec<_>>();
    assert_eq!(names(spaces.list().await.unwrap()), [DEFAULT_NAMESPACE]);
    let space = backend.namespace("dev");
    let mut dev = Namespace { name: space.clone(), ..Namespace::default() };
    dev.labels.insert("openfaas".to_owned(), "1".to_owned());
    let missing = spaces.update(&dev).await;
    assert!(matches!(missing, Err(Error::NotFound(_))));
    spaces.create(&dev).await.unwrap();
    assert!(matches!(spaces.create(&dev).await, Err(Error::Exists(_))));
    assert_eq!(names(spaces.list().await.unwrap()), [&*space, DEFAULT_NAMESPACE]);
    dev.annotations.insert("team".to_owned(), "a".to_owned());
    spaces.update(&dev).await.unwrap();
    let mut listed = spaces.list().await.unwrap().remove(0);
    if backend.marks_namespaces() {
        listed.labels.retain(|key, _| dev.labels.contains_key(key));
        listed.annotations.retain(|key, _| dev.annotations.contains_key(key));
    }
    assert_eq!(listed, dev);

    provider.secrets().create(&secret("key", &space, "1")).await.unwrap();
    let full = spaces.remove(&space).await.unwrap_err();
    assert!(matches!(&full, Error::Conflict(text) if text.contains("secret key")), "{full}");
    provider.secrets().remove("key", &space).await.unwrap();
    spaces.remove(&space).await.unwrap();
    assert!(matches!(spaces.remove(&space).await, Err(Error::NotFound(_))));
    assert!(matches!(spaces.remove(DEFAULT_NAMESPACE).await, Err(Error::Conflict(_))));
}

fn query(name: &Name) -> LogQuery {
    LogQuery { name: name.clone(), instance: None, tail: None, follow: false, since: None }
}

type Lines = BoxStream<'static, Result<LogLine>>;

/// Reads up to a line that has this text.
async fn up_to(lines: &mut Lines, text: &str) -> LogLine {
    loop {
        let line = soon(text, lines.next()).await.expect("the stream goes on").unwrap();
        if line.text == text {
            return line;
        }
    }
}

pub(crate) async fn logs_by_tail_since_and_instance(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    let mut watcher = Watcher::new(&provider).await;
    let echo = name("echo");
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    scale(&*backend, &echo, 2).await;
    let status = watcher.settled(&echo, 2).await;
    let ids: Vec<_> = status.ready().map(|r| r.id.clone()).collect();
    let mut live = provider.logs(LogQuery { follow: true, ..query(&echo) }).await.unwrap();
    for (text, id) in [("one", &ids[0]), ("two", &ids[1]), ("three", &ids[0])] {
        backend.say(&status, id, text).await;
        up_to(&mut live, text).await;
    }
    drop(live);

    let read = |query: LogQuery| {
        let provider = provider.clone();
        async move {
            let lines: Vec<_> = provider.logs(query).await.unwrap().collect().await;
            lines.into_iter().map(Result::unwrap).collect::<Vec<LogLine>>()
        }
    };
    let all = read(query(&echo)).await;
    let said: Vec<_> = all.iter().filter(|l| ["one", "two", "three"].contains(&&*l.text)).collect();
    let texts: Vec<_> = said.iter().map(|l| l.text.as_str()).collect();
    assert_eq!(texts, ["one", "two", "three"], "in the order of time, over all replicas");
    assert_eq!((said[0].name.as_str(), said[0].namespace.as_str()), ("echo", DEFAULT_NAMESPACE));
    assert_eq!(said[1].instance, ids[1]);

    let one = read(LogQuery { instance: Some(ids[1].clone()), ..query(&echo) }).await;
    assert!(one.iter().all(|l| l.instance == ids[1]) && one.iter().any(|l| l.text == "two"));
    let one = LogQuery { instance: Some(ids[0].clone()), tail: Some(1), ..query(&echo) };
    let texts: Vec<_> = read(one).await.into_iter().map(|l| l.text).collect();
    assert_eq!(texts, ["three"]);
    let later = read(LogQuery { since: Some(said[1].timestamp), ..query(&echo) }).await;
    let texts: Vec<_> = later.into_iter().map(|l| l.text).collect();
    assert_eq!(texts, ["two", "three"]);
    let none = LogQuery { instance: Some("nobody".to_owned()), ..query(&echo) };
    assert!(read(none).await.is_empty());
}

pub(crate) async fn logs_follow_replicas_that_start_later(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    let mut watcher = Watcher::new(&provider).await;
    let echo = name("echo");
    let old = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let follow = LogQuery { follow: true, ..query(&echo) };
    let mut lines = provider.logs(follow).await.unwrap();
    backend.say(&old, &old.replicas[0].id, "before").await;
    assert_eq!(up_to(&mut lines, "before").await.instance, old.replicas[0].id);

    let new = deploy(&*backend, &mut watcher, &backend.good("echo", "v2")).await;
    let replica = new.ready().next().unwrap().id.clone();
    assert_ne!(replica, old.replicas[0].id);
    backend.say(&new, &replica, "after").await;
    assert_eq!(up_to(&mut lines, "after").await.instance, replica);
    drop(lines);
    // A reader that left does not keep anything busy.
    backend.say(&new, &replica, "to nobody").await;
}
