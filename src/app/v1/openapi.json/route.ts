import { asDoor, preflight } from "#server/http/endpoint.ts";
import { openApi } from "#server/http/openapi.ts";
import * as balance from "../balance/route.ts";
import * as chatCompletions from "../chat/completions/route.ts";
import * as checkout from "../checkout/route.ts";
import * as embeddings from "../embeddings/route.ts";
import * as funding from "../funding/credit/route.ts";
import * as me from "../me/route.ts";
import * as messageCount from "../messages/count_tokens/route.ts";
import * as messages from "../messages/route.ts";
import * as model from "../models/[...id]/route.ts";
import * as models from "../models/route.ts";
import * as packages from "../packages/route.ts";
import * as responseCount from "../responses/input_tokens/route.ts";
import * as responses from "../responses/route.ts";
import * as usage from "../usage/route.ts";
import * as link from "../users/[external_user_id]/link/route.ts";
import * as user from "../users/[external_user_id]/route.ts";
import * as users from "../users/route.ts";
import * as retry from "../webhooks/[id]/deliveries/[delivery_id]/retry/route.ts";
import * as delivery from "../webhooks/[id]/deliveries/[delivery_id]/route.ts";
import * as deliveries from "../webhooks/[id]/deliveries/route.ts";
import * as webhook from "../webhooks/[id]/route.ts";
import * as webhookTest from "../webhooks/[id]/test/route.ts";
import * as webhooks from "../webhooks/route.ts";

export const dynamic = "force-dynamic";

const doors = [
  chatCompletions.POST,
  messages.POST,
  messageCount.POST,
  responses.POST,
  responseCount.POST,
  embeddings.POST,
  models.GET,
  model.GET,
  users.GET,
  user.GET,
  link.DELETE,
  balance.GET,
  me.GET,
  usage.GET,
  funding.POST,
  packages.GET,
  checkout.POST,
  webhooks.GET,
  webhooks.POST,
  webhook.GET,
  webhook.PATCH,
  webhook.DELETE,
  webhookTest.POST,
  deliveries.GET,
  delivery.GET,
  retry.POST,
];

export const GET = asDoor(async () => ({
  status: 200,
  headers: { "content-type": "application/json; charset=utf-8", "access-control-allow-origin": "*" },
  body: JSON.stringify(openApi(doors)),
}));

export const OPTIONS = preflight;
