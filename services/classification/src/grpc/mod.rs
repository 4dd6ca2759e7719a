//! The gRPC face: convert, check, call, map the error.

mod check;

use std::sync::Arc;

use otklik_chassis::{
    error::Error,
    lane::{Caller, Lane},
    page::Page,
};
use otklik_proto::classification::v1::{
    ClassifyRequest, ClassifyResponse, CorrectClassificationRequest, CorrectClassificationResponse,
    GetClassificationRequest, GetClassificationResponse, GetTaxonomyRequest, GetTaxonomyResponse,
    ListReviewQueueRequest, ListReviewQueueResponse, Place, Topic, TopicGroup, Urgency,
    classification_service_server::ClassificationService,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    pack::Pack,
    store::{self, Command, QueueKey, Writer},
    wire,
};

/// Bytes of text that are classified where the call is answered; a longer one goes to a thread for long work.
const QUICK: usize = 4096;
/// The largest page of the review queue.
const LARGEST_PAGE: u32 = 500;

/// Answers the calls of `ClassificationService`.
pub struct Api {
    pack: Arc<Pack>,
    lane: Lane<Writer>,
}

impl Api {
    /// An API that decides by `pack` and writes through `lane`.
    pub fn new(pack: Arc<Pack>, lane: Lane<Writer>) -> Self {
        Self { pack, lane }
    }

    async fn stored(&self, message: Uuid) -> Result<otklik_proto::classification::v1::Classification, Error> {
        let found = store::get(self.lane.storage(), message).await?;
        found.ok_or_else(|| Error::not_found("classification", message))
    }
}

#[tonic::async_trait]
impl ClassificationService for Api {
    async fn classify(&self, request: Request<ClassifyRequest>) -> Result<Response<ClassifyResponse>, Status> {
        let ClassifyRequest { text, place_hint_id, .. } = check::text(request.into_inner(), &self.pack)?;
        let long = text.len() > QUICK;
        let pack = self.pack.clone();
        let work = move || pack.classifier.classify(&text, &place_hint_id);
        let questions = if long { tokio::task::spawn_blocking(work).await.map_err(Error::internal)? } else { work() };
        Ok(Response::new(ClassifyResponse {
            questions: questions.iter().map(|question| wire::question(None, question)).collect(),
            model_version: self.pack.classifier.model_version().to_owned(),
            taxonomy_version: self.pack.version.clone(),
        }))
    }

    async fn get_classification(
        &self,
        request: Request<GetClassificationRequest>,
    ) -> Result<Response<GetClassificationResponse>, Status> {
        let message = check::message_id(&request.into_inner().message_id)?;
        let classification = Some(self.stored(message).await?);
        Ok(Response::new(GetClassificationResponse { classification }))
    }

    async fn list_review_queue(
        &self,
        request: Request<ListReviewQueueRequest>,
    ) -> Result<Response<ListReviewQueueResponse>, Status> {
        let mut arguments = request.into_inner();
        let (size, token) = (arguments.page_size, std::mem::take(&mut arguments.page_token));
        arguments.page_size = 0;
        let mut page = Page::<QueueKey>::of("ListReviewQueue", size, &token, &arguments)?;
        page.size = page.size.min(LARGEST_PAGE);
        let source = arguments.filter.unwrap_or_default().source_id;
        let found = store::review_queue(self.lane.storage(), &source, &page).await?;
        let (items, next_page_token) = page.cut(found, |(key, _)| *key);
        let classifications = items.into_iter().map(|(_, classification)| classification).collect();
        Ok(Response::new(ListReviewQueueResponse { classifications, next_page_token }))
    }

    async fn correct_classification(
        &self,
        request: Request<CorrectClassificationRequest>,
    ) -> Result<Response<CorrectClassificationResponse>, Status> {
        let caller = Caller::of(&request, "CorrectClassification", &request.get_ref().request_id)?;
        let order = check::correction(request.into_inner(), &self.pack)?;
        let message = order.message_id;
        let done = self.lane.call(Command::Correct(order), caller).await?;
        let classification = match done.reply.flatten() {
            Some(classification) => classification,
            // The request id was used before: the answer is what is stored now.
            None => self.stored(message).await?,
        };
        Ok(Response::new(CorrectClassificationResponse {
            classification: Some(classification),
            position: done.position,
        }))
    }

    async fn get_taxonomy(&self, _: Request<GetTaxonomyRequest>) -> Result<Response<GetTaxonomyResponse>, Status> {
        let (taxonomy, places) = (self.pack.classifier.taxonomy(), self.pack.classifier.places().all());
        let topic = |topic: &crate::domain::taxonomy::Topic| Topic {
            topic: topic.code.clone(),
            title: topic.title.clone(),
            official_code: topic.official_code.clone(),
            default_urgency: Urgency::Normal.into(),
        };
        let groups = taxonomy.groups.iter().enumerate().map(|(index, group)| TopicGroup {
            topic_group: group.code.clone(),
            title: group.title.clone(),
            topics: taxonomy.topics.iter().filter(|topic| topic.group == index).map(topic).collect(),
        });
        let places = places.iter().map(|place| Place {
            place_id: place.id.clone(),
            title: place.name.clone(),
            parent_place_id: place.parent.map(|parent| places[parent].id.clone()).unwrap_or_default(),
        });
        Ok(Response::new(GetTaxonomyResponse {
            taxonomy_version: self.pack.version.clone(),
            topic_groups: groups.collect(),
            places: places.collect(),
        }))
    }
}
