//! Sources and their health.

use jiff::SignedDuration;
use otklik_proto::intake::v1::{
    GetSourceRequest, ListSourcesFilter, ListSourcesRequest, MessageState, Regime, RegisterSourceRequest, Source,
    SourceHealthStatus, SourceKind, SubmitMessageRequest,
};
use tonic::Code;

use crate::harness::{PAGE, Service, comment, comment_by, fields, on_each};

async fn source(service: &Service, source_id: &str) -> Source {
    let request = GetSourceRequest { source_id: source_id.into() };
    service.client.clone().get_source(request).await.expect("a source").into_inner().source.expect("a source")
}

fn bot() -> Source {
    Source {
        source_id: "tg-test".into(),
        kind: SourceKind::Bot.into(),
        title: "Бот".into(),
        default_place_id: "vladivostok".into(),
        regime: Regime::OpenSourceMessage.into(),
        own_author_external_ids: vec!["bot".into()],
        ..Default::default()
    }
}

fn register(request_id: &str, source: Source) -> RegisterSourceRequest {
    RegisterSourceRequest { request_id: request_id.into(), source: Some(source) }
}

#[tokio::test]
async fn a_source_tells_whether_messages_come() {
    on_each(|service, _| async move {
        let health = source(&service, PAGE).await.health.unwrap();
        assert_eq!((health.status(), health.message_count), (SourceHealthStatus::New, 0));
        service.submit(comment("1", 0, "Яма")).await;
        service.submit(comment("1", 1, "Яма!")).await;
        service.submit(comment("2", 0, "Яма")).await;
        let health = source(&service, PAGE).await.health.unwrap();
        assert_eq!((health.status(), health.message_count), (SourceHealthStatus::Active, 2));
        assert!(health.last_published_time.unwrap().seconds < health.last_received_time.unwrap().seconds);
        service.pass(SignedDuration::from_hours(24 * 30));
        assert_eq!(source(&service, PAGE).await.health.unwrap().status(), SourceHealthStatus::Silent);
        let nowhere = GetSourceRequest { source_id: "nowhere".into() };
        assert_eq!(service.client.clone().get_source(nowhere).await.unwrap_err().code(), Code::NotFound);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn sources_are_listed_by_code() {
    on_each(|service, _| async move {
        let mut client = service.client.clone();
        let mut request = ListSourcesRequest { page_size: 4, ..Default::default() };
        let mut codes = Vec::new();
        loop {
            let page = client.list_sources(request.clone()).await.unwrap().into_inner();
            codes.extend(page.sources.into_iter().map(|source| source.source_id));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        assert!(codes.len() > 8 && codes.is_sorted(), "{codes:?}");
        let filter = ListSourcesFilter { kinds: vec![SourceKind::Portal.into(), SourceKind::Mailbox.into()] };
        let request = ListSourcesRequest { filter: Some(filter), ..Default::default() };
        let found = client.list_sources(request).await.unwrap().into_inner().sources;
        let found: Vec<&str> = found.iter().map(|source| source.source_id.as_str()).collect();
        assert_eq!(found, ["mail-public", "portal-feedback"]);
        let wrong = ListSourcesRequest {
            page_size: -1,
            filter: Some(ListSourcesFilter { kinds: vec![99] }),
            ..Default::default()
        };
        assert_eq!(fields(&client.list_sources(wrong).await.unwrap_err()), ["page_size", "filter.kinds[0]"]);
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_source_is_registered_and_replaced() {
    on_each(|service, database| async move {
        let mut client = service.client.clone();
        let first = client.register_source(register("r1", bot())).await.unwrap().into_inner();
        assert!(first.position.is_some());
        let message = SubmitMessageRequest { source_id: "tg-test".into(), ..comment_by("bot", "1", 0, "Мы") };
        assert_eq!(service.submit(message).await.state(), MessageState::Rejected);

        let same = client.register_source(register("r1", bot())).await.unwrap().into_inner();
        assert_eq!(same.position, first.position);
        let other = Source { title: "Другой".into(), ..bot() };
        let reused = client.register_source(register("r1", other.clone())).await.unwrap_err();
        assert_eq!(reused.code(), Code::Aborted);
        client.register_source(register("r2", other)).await.unwrap();
        let known = source(&service, "tg-test").await;
        assert_eq!((known.title.as_str(), known.health.unwrap().message_count), ("Другой", 1));

        // A registration that replaces the pack's outlives a restart with the same pack.
        let page = Source { title: "Наша".into(), health: None, ..source(&service, PAGE).await };
        client.register_source(register("r3", page)).await.unwrap();
        drop(client);
        service.stop().await;
        let service = Service::start(&database).await;
        assert_eq!(source(&service, PAGE).await.title, "Наша");
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_wrong_registration_is_refused_whole() {
    on_each(|service, _| async move {
        let wrong = Source {
            source_id: "Bot".into(),
            kind: 99,
            title: "x".repeat(257),
            default_place_id: "?".into(),
            regime: 0,
            own_author_external_ids: vec!["a".into(), String::new()],
            ..Default::default()
        };
        let status = service.client.clone().register_source(register("", wrong)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(
            fields(&status),
            [
                "request_id",
                "source.source_id",
                "source.kind",
                "source.regime",
                "source.title",
                "source.default_place_id",
                "source.own_author_external_ids[1]",
            ]
        );
        service.stop().await;
    })
    .await;
}
