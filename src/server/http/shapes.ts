import { z } from "zod";
import { hasUnseenInWords } from "../platform/unseen.ts";
import { deliveryStatuses } from "../webhooks/deliveries.ts";
import { MOST_ENDPOINTS } from "../webhooks/endpoints.ts";
import { eventType } from "../webhooks/events.ts";

/** The schemas of /v1, which validate requests and generate the API reference. */

export const credits = z.int().describe("Credits; 1 credit is 1 micro-dollar.");
const moment = z.iso.datetime().describe("ISO 8601, UTC.");
/** Text that PostgreSQL can store and compare: without control characters and lone surrogates. */
const printable = z
  .string()
  .min(1)
  .max(255)
  .regex(/^(?!\s)[^\p{Cc}\p{Cs}]*(?<!\s)$/u, "must be printable characters, without white space around them");
/** A date in the range of PostgreSQL's timestamps. */
const pastOrFuture = z.coerce.date().min(new Date(0)).max(new Date("9999-12-31T23:59:59.999Z"));
export const externalUserId = printable.describe("Your app's id for the linked user.");

export const quota = z.object({
  credits_used: credits,
  balance_after: credits
    .nullable()
    .describe(
      "The payer's balance after this request, what other requests have set aside included. Null when the payer did not grant credits.read, and when the database did not take the bill within 10 seconds: then the bill is on the server's disk and `credits_used` is what will be billed, once.",
    ),
  billing_mode: z.enum(["developer", "user", "test"]),
  external_user_id: z.string().optional(),
});

export const chatCompletionRequest = z
  .looseObject({
    model: z.string().describe("A model from GET /v1/models, or another name for one."),
    messages: z.array(z.looseObject({ role: z.string() })).min(1),
    stream: z.boolean().nullish().describe("Answer as server-sent events."),
    max_tokens: z.int().min(1).nullish().describe("The older name of max_completion_tokens."),
    max_completion_tokens: z.int().min(1).nullish().describe("The longest answer that is paid for."),
    n: z.int().min(1).max(128).nullish().describe("How many answers."),
  })
  .meta({ examples: [{ model: "gpt-4o-mini", messages: [{ role: "user", content: "Hello!" }] }] });
export const chatCompletion = z.looseObject({
  id: z.string(),
  object: z.string(),
  model: z.string(),
  choices: z.array(z.looseObject({})),
  usage: z.looseObject({ prompt_tokens: z.int(), completion_tokens: z.int(), total_tokens: z.int() }).optional(),
  quota,
});

export const messageRequest = z
  .looseObject({
    model: z.string().describe("A model of Anthropic's from GET /v1/models, or one that the operator serves with this API."),
    max_tokens: z.int().min(0).describe("The longest answer that is paid for, thinking included."),
    messages: z.array(z.looseObject({ role: z.string() })).min(1),
    stream: z.boolean().nullish().describe("Answer as server-sent events."),
  })
  .meta({ examples: [{ model: "claude-haiku-4-5", max_tokens: 1024, messages: [{ role: "user", content: "Hello!" }] }] });
export const message = z.looseObject({
  id: z.string(),
  type: z.literal("message"),
  role: z.string(),
  model: z.string(),
  content: z.array(z.looseObject({ type: z.string() })),
  stop_reason: z.string().nullable(),
  usage: z.looseObject({ input_tokens: z.int(), output_tokens: z.int() }).optional(),
  quota,
});

export const messageCountRequest = z
  .looseObject({ model: z.string(), messages: z.array(z.looseObject({ role: z.string() })).min(1) })
  .meta({ examples: [{ model: "claude-haiku-4-5", messages: [{ role: "user", content: "Hello!" }] }] });
export const messageCount = z.object({ input_tokens: z.int().describe("Tokens of the prompt.") });

export const responseRequest = z
  .looseObject({
    model: z.string().describe("A model whose provider has this API; see Other APIs."),
    input: z.union([z.string(), z.array(z.looseObject({}))]).describe("A text, or the items of the whole conversation."),
    stream: z.boolean().nullish().describe("Answer as server-sent events."),
    max_output_tokens: z.int().min(1).nullish().describe("The longest answer that is paid for, reasoning included."),
    store: z.literal(false).nullish().describe("Nothing is kept at the provider."),
  })
  .meta({ examples: [{ model: "gpt-4o-mini", input: "Hello!" }] });
export const response = z.looseObject({
  id: z.string(),
  object: z.literal("response"),
  model: z.string(),
  status: z.string().optional(),
  output: z.array(z.looseObject({ type: z.string() })),
  usage: z.looseObject({ input_tokens: z.int(), output_tokens: z.int(), total_tokens: z.int() }).nullish(),
  quota,
});

export const responseCount = z.object({
  object: z.literal("response.input_tokens"),
  input_tokens: z.int().describe("Tokens of the input, with instructions and tools."),
});

export const embeddingsRequest = z
  .looseObject({
    model: z.string().describe("A model from GET /v1/models, or another name for one."),
    input: z.union([z.string(), z.array(z.unknown())]),
  })
  .meta({ examples: [{ model: "text-embedding-3-small", input: "Hello!" }] });
export const embeddingList = z.looseObject({ object: z.string(), data: z.array(z.looseObject({})), model: z.string(), quota });

export const linkedUser = z.object({
  user: z.object({ id: z.string(), email: z.string(), balance: credits }),
  linked_at: moment,
  limit: credits.optional().describe("What this person lets your app spend in a month."),
  spent: credits.optional().describe("What of the limit is spent this month."),
});
export const linkedUserListItem = linkedUser.extend({ external_user_id: z.string() });
export const userList = z.object({ data: z.array(linkedUserListItem), has_more: z.boolean() });
export const pageQuery = z.object({
  limit: z.coerce.number().int().min(1).max(100).default(20),
  starting_after: printable.optional().describe("The id of the last item of the page before."),
});
export const success = z.object({ success: z.literal(true) });

export const model = z.object({
  id: z.string(),
  object: z.literal("model"),
  type: z.literal("model").describe("The same for Anthropic's clients."),
  display_name: z.string(),
  created: z.int().describe("When the provider released it, or the operator listed it: seconds since 1970."),
  created_at: moment.describe("The same moment."),
  owned_by: z.string(),
  pricing: z
    .object({ prompt_per_1k_tokens: z.string(), completion_per_1k_tokens: z.string() })
    .describe("US dollars, as decimal text; the app's markup comes on top."),
  context_length: z.int(),
  max_output_tokens: z.int(),
});
export const modelList = z.object({
  object: z.literal("list"),
  data: z.array(model),
  has_more: z.literal(false).describe("The list is always whole. This and the next two are for Anthropic's clients."),
  first_id: z.string().nullable(),
  last_id: z.string().nullable(),
});

export const balance = z.object({
  wallet: z.enum(["developer", "linked_user", "oauth_user", "sandbox"]),
  external_user_id: z.string().optional(),
  balance: credits,
  available: credits.describe("The balance less what requests under way hold."),
  held: credits,
  billing_mode: z.enum(["developer", "user", "test"]),
  limit: credits.optional(),
  spent: credits.optional(),
});

const sums = z.object({ requests: z.int(), prompt_tokens: z.int(), completion_tokens: z.int(), credits_used: credits });
const app = z.object({ id: z.string(), name: z.string() });
export const me = z.union([
  z.object({
    object: z.literal("api_key"),
    id: z.string(),
    name: z.string(),
    fragment: z.string(),
    billing_mode: z.enum(["developer", "user", "test"]),
    app,
    usage_30d: sums,
  }),
  z.object({
    object: z.literal("user"),
    id: z.string(),
    email: z.string().optional(),
    scope: z.string().describe("What the token may do, separated by spaces."),
    billing_mode: z.literal("user"),
    app,
    usage_30d: sums,
  }),
]);

export const usageQuery = pageQuery.extend({
  external_user_id: externalUserId.optional(),
  model: printable.optional(),
  start: pastOrFuture.optional().describe("Requests from this moment on."),
  end: pastOrFuture.optional().describe("Requests before this moment."),
  group_by: z.enum(["day", "model", "user"]).optional().describe("Sums instead of single requests."),
});
export const usageItem = z.object({
  request_id: z.string(),
  created_at: moment,
  external_user_id: z.string().nullable(),
  billing_mode: z.enum(["developer", "user", "test"]),
  endpoint: z.string(),
  model: z.string(),
  prompt_tokens: z.int(),
  cached_tokens: z.int(),
  completion_tokens: z.int(),
  total_tokens: z.int(),
  credits_used: credits,
  markup: credits.describe("What of credits_used is the app's markup."),
  status: z.enum(["completed", "interrupted"]).describe("interrupted: the client hung up, and what it got was billed."),
  counted_by: z.enum(["provider", "tokenizer"]).nullable(),
  stream: z.boolean(),
  duration_ms: z.int(),
});
export const usagePage = z.union([
  z.object({ data: z.array(usageItem), has_more: z.boolean() }),
  z.object({ group_by: z.enum(["day", "model", "user"]), data: z.array(sums.extend({ group: z.string().nullable() })) }),
]);

export const fundingRequest = z
  .strictObject({
    external_user_id: externalUserId,
    amount: z.int().min(1).max(1_000_000_000_000).describe("Credits to give."),
    description: z
      .string()
      .max(500)
      .regex(/^[^\p{Cc}]*$/u, "must be printable characters")
      .refine((text) => !hasUnseenInWords(text), "must be printable characters")
      .optional(),
  })
  .meta({ examples: [{ external_user_id: "user_123", amount: 1000 }] });
export const funding = z.object({
  success: z.literal(true),
  external_user_id: z.string(),
  amount: credits,
  balance_after: credits,
  transaction_id: z.string(),
});

export const packageList = z.object({
  data: z.array(
    z.object({
      id: z.string(),
      credits,
      price_cents: z.int(),
      currency: z.literal("usd"),
    }),
  ),
});
export const checkoutRequest = z
  .strictObject({
    package_id: z.string().min(1).max(40).describe("A package from GET /v1/packages."),
    return_url: z
      .string()
      .min(1)
      .max(2000)
      .optional()
      .describe(
        "Where the person goes on: an address of a site or redirect URI that your app has registered. `quota_checkout` is added to it: paid, processing or cancelled.",
      ),
  })
  .meta({ examples: [{ package_id: "usd_10" }] });
export const checkout = z.object({ url: z.url().describe("Send the person there.") });

const webhookUrl = z.string().min(1).max(2_000).describe("A public http(s) address.");
const webhookEvents = z.array(eventType).min(1).describe("The event types to send.");
const webhookDescription = z
  .string()
  .max(500)
  .regex(/^[^\p{Cc}]*$/u, "must be printable characters");
const lowThreshold = z.int().min(1).max(1_000_000_000_000).describe("`balance.low` is sent when a balance falls below this many credits.");
export const webhookCreation = z
  .strictObject({
    url: webhookUrl,
    events: webhookEvents,
    description: webhookDescription.nullable().optional(),
    balance_low_threshold: lowThreshold.default(100_000),
  })
  .meta({ examples: [{ url: "https://example.com/quota", events: ["user.disconnected", "balance.low"], balance_low_threshold: 500_000 }] });
export const webhookChange = z
  .strictObject({
    url: webhookUrl.optional(),
    events: webhookEvents.optional(),
    description: webhookDescription.nullable().optional(),
    balance_low_threshold: lowThreshold.optional(),
    enabled: z
      .boolean()
      .optional()
      .describe("false gives up what is pending; true also enables an endpoint that was disabled for failing."),
    rotate_secret: z.literal(true).optional().describe("Makes a new secret, which is in the answer."),
    overlap_seconds: z
      .int()
      .min(0)
      .max(604_800)
      .optional()
      .describe("With `rotate_secret`: how long the secret before signs too; a day unless given, 0 ends it at once."),
  })
  .meta({ examples: [{ events: ["user.disconnected"] }] });
export const webhook = z.object({
  id: z.string(),
  url: z.string(),
  description: z.string().nullable(),
  events: z.array(eventType),
  balance_low_threshold: credits,
  sandbox: z.boolean().describe("Hears of requests with `test` keys, and of nothing else. As the key it was made with."),
  enabled: z.boolean(),
  disabled_at: moment.nullable(),
  disabled_reason: z.enum(["owner", "failing", "gone"]).nullable(),
  failing_since: moment.nullable().describe("The first failure after the last success."),
  former_secret_until: moment.nullable().describe("Until then the secret before the last rotation signs too."),
  notice: z.string().nullable().describe("What is wrong with it, if anything."),
  created_at: moment,
});
export const webhookWithSecret = webhook.extend({
  secret: z.string().optional().describe("`whsec_…`; here when it was just made or rotated, and never again."),
});
export const webhookList = z.object({ data: z.array(webhook).max(2 * MOST_ENDPOINTS), has_more: z.literal(false) });
export const webhookTest = z
  .strictObject({
    type: eventType.optional().describe("By default the first type that the endpoint subscribes to."),
  })
  .meta({ examples: [{}] });
export const webhookDelivery = z.object({
  id: z.string(),
  event_id: z.string().describe("The `id` of the body and the header `webhook-id`; the same in every attempt."),
  type: eventType,
  status: z.enum(deliveryStatuses),
  attempts: z.int().describe("Since it was made, or retried by hand."),
  next_attempt_at: moment.nullable(),
  last_response_status: z.int().nullable(),
  last_error: z.string().nullable(),
  created_at: moment,
});
export const webhookDeliveryQuery = z.object({
  limit: z.coerce.number().int().min(1).max(100).default(20),
  starting_after: printable.optional().describe("The id of the last delivery of the page before."),
  status: z.enum(deliveryStatuses).optional(),
  type: eventType.optional(),
});
export const webhookDeliveryList = z.object({ data: z.array(webhookDelivery), has_more: z.boolean() });
export const webhookDeliveryRecord = webhookDelivery.extend({
  request_body: z.string().nullable().describe("What was, or will be, sent, byte for byte."),
  log: z
    .array(
      z.object({
        url: z.string(),
        request_headers: z.record(z.string(), z.string()),
        response_status: z.int().nullable(),
        response_body: z.string().nullable().describe("The first 2 kB."),
        error: z.string().nullable(),
        started_at: moment,
        duration_ms: z.int(),
      }),
    )
    .describe("Each attempt, newest first."),
});

export const errorBody = z.object({
  type: z.literal("error").optional().describe("Under /v1/messages."),
  request_id: z.string().optional().describe("Under /v1/messages; what X-Request-Id says."),
  error: z.object({
    code: z.string(),
    message: z.string(),
    type: z.string(),
    param: z.string().nullable(),
    held: credits.optional().describe("With credits_on_hold: what requests that are running hold, for those who may read the balance."),
    details: z
      .object({ error_code: z.string(), unsupported: z.array(z.string()) })
      .optional()
      .describe("Under /v1/messages, of a refused `thread`: Anthropic's clients read here that they have to do without it."),
    hint: z.string().optional(),
    docs_url: z.url(),
  }),
});
