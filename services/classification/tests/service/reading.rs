//! The calls that store nothing.

use otklik_proto::classification::v1::{ClassifyRequest, GetClassificationRequest, GetTaxonomyRequest, QuestionKind};
use tonic::Code;
use uuid::Uuid;

use crate::house::House;

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_classified_and_not_kept() {
    for mut house in House::all().await {
        let text = "Спасибо за ремонт дороги! Также хочу сказать: не вывозят мусор, контейнеры переполнены".to_owned();
        let request = ClassifyRequest { place_hint_id: "artyom".to_owned(), text, ..Default::default() };
        let answer = house.client.classify(request.clone()).await.unwrap().into_inner();
        assert_eq!(answer.questions.len(), 2, "{}: {answer:?}", house.name());
        assert_eq!(answer.questions[0].kind(), QuestionKind::Thanks);
        assert_eq!(answer.questions[1].topic_group, "waste");
        assert!(answer.questions.iter().all(|q| q.question_id.is_empty() && q.place_ids == ["artyom"]));
        assert_eq!(house.client.classify(request).await.unwrap().into_inner(), answer);
        assert!(house.entries().await.is_empty());

        let long = ClassifyRequest { text: "нет света ".repeat(1800), ..Default::default() };
        assert_eq!(house.client.classify(long).await.unwrap().into_inner().questions.len(), 1);
        let blank = ClassifyRequest { text: "🙏".to_owned(), ..Default::default() };
        assert!(house.client.classify(blank).await.unwrap().into_inner().questions.is_empty());
        for (text, place_hint_id) in [(String::new(), ""), ("а".repeat(20_000), ""), ("свет".to_owned(), "atlantis")]
        {
            let request = ClassifyRequest { text, place_hint_id: place_hint_id.to_owned(), ..Default::default() };
            assert_eq!(house.client.classify(request).await.unwrap_err().code(), Code::InvalidArgument);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_taxonomy_is_told() {
    for mut house in House::all().await {
        let taxonomy = house.client.get_taxonomy(GetTaxonomyRequest {}).await.unwrap().into_inner();
        assert_eq!(taxonomy.taxonomy_version.len(), 16);
        let roads = taxonomy.topic_groups.iter().find(|group| group.topic_group == "roads").unwrap();
        assert!(roads.topics.iter().any(|topic| topic.topic == "roads.general"));
        let root = taxonomy.places.iter().filter(|place| place.parent_place_id.is_empty());
        assert_eq!(root.count(), 1);
        for (message_id, code) in [("", Code::InvalidArgument), (&*Uuid::nil().to_string(), Code::NotFound)] {
            let request = GetClassificationRequest { message_id: message_id.to_owned() };
            assert_eq!(house.client.get_classification(request).await.unwrap_err().code(), code);
        }
    }
}
