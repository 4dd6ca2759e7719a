//! The service as others see it: over gRPC, on each database, with everybody around it played.

mod adapter;
mod answers;
mod deliveries;
mod erasure;
mod peers;
mod ratings;
mod stage;

/// Plays a scene on an empty database of each kind.
macro_rules! on_each_database {
    ($(async fn $name:ident($stage:ident: Stage) $body:block)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            for database in otklik_chassis::testing::databases().await {
                #[allow(unused_mut)]
                let mut $stage = $crate::stage::Stage::set(database).await;
                $body
            }
        })*
    };
}
pub(crate) use on_each_database;
