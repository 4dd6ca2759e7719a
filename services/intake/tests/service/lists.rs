//! Lists of messages, page by page.

use jiff::SignedDuration;
use otklik_chassis::clock::Time;
use otklik_proto::{
    intake::v1::{ListMessagesFilter, ListMessagesRequest, MessageState},
    time::from_micros,
};
use tonic::Code;

use crate::harness::{PAGE, Service, comment, comment_by, fields, on_each};

async fn walk(service: &Service, filter: ListMessagesFilter, page_size: i32) -> Vec<String> {
    let mut client = service.client.clone();
    let mut request = ListMessagesRequest { filter: Some(filter), page_size, page_token: String::new() };
    let mut found = Vec::new();
    loop {
        let page = client.list_messages(request.clone()).await.expect("a page").into_inner();
        assert!(page.messages.len() <= 500);
        found.extend(page.messages.into_iter().map(|message| message.external_id));
        if page.next_page_token.is_empty() {
            return found;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn messages_are_listed_the_latest_first() {
    on_each(|service, _| async move {
        for n in 0..7 {
            service.submit(comment_by(if n % 2 == 0 { "id7" } else { "id8" }, &format!("m{n}"), 0, "Яма")).await;
            service.pass(SignedDuration::from_mins(1));
        }
        service.submit(comment_by(&service.own_author().await, "own", 0, "Внимание")).await;
        service.submit(comment("m3", 1, "Яма больше")).await;
        service.withdraw("never-came", 0).await;
        let all = ["own", "m6", "m5", "m4", "m3", "m2", "m1", "m0"];
        for size in [1, 3, 8, 0, 10_000] {
            assert_eq!(walk(&service, ListMessagesFilter::default(), size).await, all, "pages of {size}");
        }
        let rejected = ListMessagesFilter { states: vec![MessageState::Rejected.into()], ..Default::default() };
        assert_eq!(walk(&service, rejected, 2).await, ["own"]);
        let author_key = service.message("m0").await.unwrap().origin.unwrap().author_key;
        let by_author = ListMessagesFilter { author_key, ..Default::default() };
        assert_eq!(walk(&service, by_author, 3).await, ["m6", "m4", "m2", "m0"]);
        let minute = |n: i64| Some(from_micros(crate::harness::start_of_time().as_microsecond() + n * 60_000_000));
        let between = ListMessagesFilter {
            received_from_time: minute(2),
            received_before_time: minute(5),
            source_id: PAGE.into(),
            ..Default::default()
        };
        assert_eq!(walk(&service, between, 2).await, ["m4", "m3", "m2"]);
        let elsewhere = ListMessagesFilter { source_id: "vk-governor".into(), ..Default::default() };
        assert!(walk(&service, elsewhere, 2).await.is_empty());

        let request = ListMessagesRequest { page_size: 5, ..Default::default() };
        let page = service.client.clone().list_messages(request).await.unwrap().into_inner();
        let edited = page.messages.iter().find(|message| message.external_id == "m3").unwrap();
        assert_eq!((edited.version, edited.versions.len()), (2, 1));
        assert_eq!(edited.versions[0].text, "Яма больше");
        assert!(service.clock.now() > crate::harness::start_of_time());
        service.stop().await;
    })
    .await;
}

#[tokio::test]
async fn foreign_tokens_and_negative_sizes_are_refused() {
    on_each(|service, _| async move {
        for n in 0..3 {
            service.submit(comment(&format!("m{n}"), 0, "Яма")).await;
        }
        let mut client = service.client.clone();
        let first = ListMessagesRequest { page_size: 1, ..Default::default() };
        let token = client.list_messages(first).await.unwrap().into_inner().next_page_token;
        assert!(!token.is_empty());
        let filter = ListMessagesFilter { source_id: PAGE.into(), ..Default::default() };
        for (request, wrong) in [
            (ListMessagesRequest { filter: Some(filter), page_token: token, page_size: 1 }, vec!["page_token"]),
            (
                ListMessagesRequest { page_size: -1, page_token: "?".into(), ..Default::default() },
                vec!["page_size", "page_token"],
            ),
            (
                ListMessagesRequest {
                    filter: Some(ListMessagesFilter {
                        source_id: "А".into(),
                        states: vec![1, 0, 9],
                        author_key: "x".into(),
                        ..Default::default()
                    }),
                    page_size: -1,
                    page_token: String::new(),
                },
                vec!["page_size", "filter.source_id", "filter.states[1]", "filter.states[2]", "filter.author_key"],
            ),
        ] {
            let status = client.list_messages(request).await.unwrap_err();
            assert_eq!(
                (status.code(), fields(&status)),
                (Code::InvalidArgument, wrong.iter().map(|s| (*s).to_owned()).collect())
            );
        }
        service.stop().await;
    })
    .await;
}
