//! The fake under test.

use std::sync::Arc;

use async_trait::async_trait;
use provider::fake::Fake;
use provider::{Address, Calls, Function, Name, Provider, Status};

use crate::support::{Backend, Case};

struct OnFake {
    fake: Arc<Fake>,
    calls: Calls,
}

pub(crate) async fn run(case: Case) {
    let calls = Calls::default();
    let fake = Fake::new(Address::Tcp(([127, 0, 0, 1], 9).into()), calls.clone());
    case(Arc::new(OnFake { fake, calls })).await;
}

#[async_trait]
impl Backend for OnFake {
    fn provider(&self) -> Arc<dyn Provider> {
        self.fake.clone()
    }

    fn calls(&self) -> Calls {
        self.calls.clone()
    }

    fn good(&self, name: &str, version: &str) -> Function {
        let body = format!(
            r#"{{"service":"{name}","image":"fixture","envVars":{{"VERSION":"{version}"}}}}"#
        );
        Function::from_json(body.as_bytes()).unwrap()
    }

    async fn apply_held(&self, name: &str, version: &str) -> Status {
        self.fake.hold(true);
        let status = self.fake.apply(&self.good(name, version)).await.unwrap();
        self.fake.hold(false);
        status
    }

    async fn release(&self, name: &Name) {
        self.fake.make_ready(name);
    }

    async fn say(&self, status: &Status, instance: &str, text: &str) {
        self.fake.log(&status.name().unwrap(), instance, text);
    }

    async fn leftovers(&self) -> Vec<String> {
        Vec::new()
    }
}
