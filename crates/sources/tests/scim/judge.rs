//! scim2-tester, an independent judge, goes through everything that the service says of itself, on a real port.

use crate::house::House;
use tidings_testkit::scim_judge::judge_scim;
use tidings_web::Listener;

#[tokio::test(flavor = "multi_thread")]
async fn the_judge_finds_nothing() {
    // The service says where its resources live, so the port is chosen before it is built.
    let port = tidings_testkit::ports::free_port();
    let url = format!("http://127.0.0.1:{port}");
    let house = House::with(&[("hr", false)], &url).await;
    let listener = Listener::bind(&format!("127.0.0.1:{port}")).await.unwrap();
    let (close, closed) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(listener.serve(house.router(), async move { _ = closed.await }));
    let token = house.token().to_owned();
    let checks = tokio::task::spawn_blocking(move || judge_scim(&format!("{url}/scim/v2"), &token)).await.unwrap();
    let failed: Vec<_> = checks.iter().filter(|check| !check.passed()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(checks.len() > 100, "only {} checks were made", checks.len());
    assert!(house.events().await.len() > 50, "what the judge writes is told");
    close.send(()).unwrap();
    serving.await.unwrap();
}
