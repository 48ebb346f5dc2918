// Made by packages/wire-types.ts from the server's schemas. Do not edit.

/** What a request cost, and the payer's balance after it. */
export type Quota = {
  /** Credits; 1 credit is 1 micro-dollar. */
  credits_used: number;
  /** The payer's balance after this request, what other requests have set aside included. Null when the payer did not grant credits.read, and when the database did not take the bill within 10 seconds: then the bill is on the server's disk and `credits_used` is what will be billed, once. */
  balance_after: number | null;
  billing_mode: "developer" | "user" | "test";
  external_user_id?: string | undefined;
};

/** The parameters of a chat completion that the server reads; others go to the provider unchanged. */
export type WireChatCompletionRequest = {
  /** A model from GET /v1/models, or another name for one. */
  model: string;
  messages: Array<{
    role: string;
    [other: string]: unknown;
  }>;
  /** Answer as server-sent events. */
  stream?: boolean | null | undefined;
  /** The older name of max_completion_tokens. */
  max_tokens?: number | null | undefined;
  /** The longest answer that is paid for. */
  max_completion_tokens?: number | null | undefined;
  /** How many answers. */
  n?: number | null | undefined;
  [other: string]: unknown;
};

/** What the server adds to the provider's answer. */
export type WireChatCompletion = {
  id: string;
  object: string;
  model: string;
  choices: Array<{
    [other: string]: unknown;
  }>;
  usage?: {
    prompt_tokens: number;
    completion_tokens: number;
    total_tokens: number;
    [other: string]: unknown;
  } | undefined;
  quota: {
    /** Credits; 1 credit is 1 micro-dollar. */
    credits_used: number;
    /** The payer's balance after this request, what other requests have set aside included. Null when the payer did not grant credits.read, and when the database did not take the bill within 10 seconds: then the bill is on the server's disk and `credits_used` is what will be billed, once. */
    balance_after: number | null;
    billing_mode: "developer" | "user" | "test";
    external_user_id?: string | undefined;
  };
  [other: string]: unknown;
};

/** A user who connected their wallet to your app. */
export type LinkedUser = {
  user: {
    id: string;
    email: string;
    /** Credits; 1 credit is 1 micro-dollar. */
    balance: number;
  };
  /** ISO 8601, UTC. */
  linked_at: string;
  /** What this person lets your app spend in a month. */
  limit?: number | undefined;
  /** What of the limit is spent this month. */
  spent?: number | undefined;
};

/** A linked user, with your app's id for the user. */
export type LinkedUserListItem = {
  user: {
    id: string;
    email: string;
    /** Credits; 1 credit is 1 micro-dollar. */
    balance: number;
  };
  /** ISO 8601, UTC. */
  linked_at: string;
  /** What this person lets your app spend in a month. */
  limit?: number | undefined;
  /** What of the limit is spent this month. */
  spent?: number | undefined;
  external_user_id: string;
};

/** A page of linked users. */
export type LinkedUserList = {
  data: Array<{
    user: {
      id: string;
      email: string;
      /** Credits; 1 credit is 1 micro-dollar. */
      balance: number;
    };
    /** ISO 8601, UTC. */
    linked_at: string;
    /** What this person lets your app spend in a month. */
    limit?: number | undefined;
    /** What of the limit is spent this month. */
    spent?: number | undefined;
    external_user_id: string;
  }>;
  has_more: boolean;
};

/** Selects a page of a list. */
export type PageParams = {
  limit?: number | undefined;
  /** The id of the last item of the page before. */
  starting_after?: string | undefined;
};

/** The request was carried out. */
export type Success = {
  success: true;
};

/** A model and its price. */
export type Model = {
  id: string;
  object: "model";
  /** The same for Anthropic's clients. */
  type: "model";
  display_name: string;
  /** When the provider released it, or the operator listed it: seconds since 1970. */
  created: number;
  /** The same moment. */
  created_at: string;
  owned_by: string;
  /** US dollars, as decimal text; the app's markup comes on top. */
  pricing: {
    prompt_per_1k_tokens: string;
    completion_per_1k_tokens: string;
  };
  context_length: number;
  max_output_tokens: number;
};

/** The models that requests can name. */
export type ModelList = {
  object: "list";
  data: Array<{
    id: string;
    object: "model";
    /** The same for Anthropic's clients. */
    type: "model";
    display_name: string;
    /** When the provider released it, or the operator listed it: seconds since 1970. */
    created: number;
    /** The same moment. */
    created_at: string;
    owned_by: string;
    /** US dollars, as decimal text; the app's markup comes on top. */
    pricing: {
      prompt_per_1k_tokens: string;
      completion_per_1k_tokens: string;
    };
    context_length: number;
    max_output_tokens: number;
  }>;
  /** The list is always whole. This and the next two are for Anthropic's clients. */
  has_more: false;
  first_id: string | null;
  last_id: string | null;
};

/** The balance of a request's payer. */
export type Balance = {
  wallet: "developer" | "linked_user" | "oauth_user" | "sandbox";
  external_user_id?: string | undefined;
  /** Credits; 1 credit is 1 micro-dollar. */
  balance: number;
  /** The balance less what requests under way hold. */
  available: number;
  /** Credits; 1 credit is 1 micro-dollar. */
  held: number;
  billing_mode: "developer" | "user" | "test";
  /** Credits; 1 credit is 1 micro-dollar. */
  limit?: number | undefined;
  /** Credits; 1 credit is 1 micro-dollar. */
  spent?: number | undefined;
};

/** The API key and app, or the user, of a credential. */
export type Me = {
  object: "api_key";
  id: string;
  name: string;
  fragment: string;
  billing_mode: "developer" | "user" | "test";
  app: {
    id: string;
    name: string;
  };
  usage_30d: {
    requests: number;
    prompt_tokens: number;
    completion_tokens: number;
    /** Credits; 1 credit is 1 micro-dollar. */
    credits_used: number;
  };
} | {
  object: "user";
  id: string;
  email?: string | undefined;
  /** What the token may do, separated by spaces. */
  scope: string;
  billing_mode: "user";
  app: {
    id: string;
    name: string;
  };
  usage_30d: {
    requests: number;
    prompt_tokens: number;
    completion_tokens: number;
    /** Credits; 1 credit is 1 micro-dollar. */
    credits_used: number;
  };
};

/** Selects usage for a report. */
export type UsageParams = {
  limit?: number | undefined;
  /** The id of the last item of the page before. */
  starting_after?: string | undefined;
  /** Your app's id for the linked user. */
  external_user_id?: string | undefined;
  model?: string | undefined;
  /** Requests from this moment on. */
  start?: string | undefined;
  /** Requests before this moment. */
  end?: string | undefined;
  /** Sums instead of single requests. */
  group_by?: "day" | "model" | "user" | undefined;
};

/** One request and what it cost. */
export type UsageItem = {
  request_id: string;
  /** ISO 8601, UTC. */
  created_at: string;
  external_user_id: string | null;
  billing_mode: "developer" | "user" | "test";
  endpoint: string;
  model: string;
  prompt_tokens: number;
  cached_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  /** Credits; 1 credit is 1 micro-dollar. */
  credits_used: number;
  /** What of credits_used is the app's markup. */
  markup: number;
  /** interrupted: the client hung up, and what it got was billed. */
  status: "completed" | "interrupted";
  counted_by: "provider" | "tokenizer" | null;
  stream: boolean;
  duration_ms: number;
};

/** Requests, or with `group_by` sums. */
export type UsagePage = {
  data: Array<{
    request_id: string;
    /** ISO 8601, UTC. */
    created_at: string;
    external_user_id: string | null;
    billing_mode: "developer" | "user" | "test";
    endpoint: string;
    model: string;
    prompt_tokens: number;
    cached_tokens: number;
    completion_tokens: number;
    total_tokens: number;
    /** Credits; 1 credit is 1 micro-dollar. */
    credits_used: number;
    /** What of credits_used is the app's markup. */
    markup: number;
    /** interrupted: the client hung up, and what it got was billed. */
    status: "completed" | "interrupted";
    counted_by: "provider" | "tokenizer" | null;
    stream: boolean;
    duration_ms: number;
  }>;
  has_more: boolean;
} | {
  group_by: "day" | "model" | "user";
  data: Array<{
    requests: number;
    prompt_tokens: number;
    completion_tokens: number;
    /** Credits; 1 credit is 1 micro-dollar. */
    credits_used: number;
    group: string | null;
  }>;
};

/** Credits to give from your own wallet. */
export type FundingRequest = {
  /** Your app's id for the linked user. */
  external_user_id: string;
  /** Credits to give. */
  amount: number;
  description?: string | undefined;
};

/** Credits that were given. */
export type Funding = {
  success: true;
  external_user_id: string;
  /** Credits; 1 credit is 1 micro-dollar. */
  amount: number;
  /** Credits; 1 credit is 1 micro-dollar. */
  balance_after: number;
  transaction_id: string;
};

/** An endpoint of your app that receives events. */
export type Webhook = {
  id: string;
  url: string;
  description: string | null;
  events: Array<"user.connected" | "user.disconnected" | "usage.completed" | "balance.updated" | "balance.low">;
  /** Credits; 1 credit is 1 micro-dollar. */
  balance_low_threshold: number;
  /** Hears of requests with `test` keys, and of nothing else. As the key it was made with. */
  sandbox: boolean;
  enabled: boolean;
  disabled_at: string | null;
  disabled_reason: "owner" | "failing" | "gone" | null;
  /** The first failure after the last success. */
  failing_since: string | null;
  /** Until then the secret before the last rotation signs too. */
  former_secret_until: string | null;
  /** What is wrong with it, if anything. */
  notice: string | null;
  /** ISO 8601, UTC. */
  created_at: string;
};

/** An endpoint, with its secret in the answer that made or rotated it. */
export type WebhookWithSecret = {
  id: string;
  url: string;
  description: string | null;
  events: Array<"user.connected" | "user.disconnected" | "usage.completed" | "balance.updated" | "balance.low">;
  /** Credits; 1 credit is 1 micro-dollar. */
  balance_low_threshold: number;
  /** Hears of requests with `test` keys, and of nothing else. As the key it was made with. */
  sandbox: boolean;
  enabled: boolean;
  disabled_at: string | null;
  disabled_reason: "owner" | "failing" | "gone" | null;
  /** The first failure after the last success. */
  failing_since: string | null;
  /** Until then the secret before the last rotation signs too. */
  former_secret_until: string | null;
  /** What is wrong with it, if anything. */
  notice: string | null;
  /** ISO 8601, UTC. */
  created_at: string;
  /** `whsec_…`; here when it was just made or rotated, and never again. */
  secret?: string | undefined;
};

/** Your endpoints. */
export type WebhookList = {
  data: Array<{
    id: string;
    url: string;
    description: string | null;
    events: Array<"user.connected" | "user.disconnected" | "usage.completed" | "balance.updated" | "balance.low">;
    /** Credits; 1 credit is 1 micro-dollar. */
    balance_low_threshold: number;
    /** Hears of requests with `test` keys, and of nothing else. As the key it was made with. */
    sandbox: boolean;
    enabled: boolean;
    disabled_at: string | null;
    disabled_reason: "owner" | "failing" | "gone" | null;
    /** The first failure after the last success. */
    failing_since: string | null;
    /** Until then the secret before the last rotation signs too. */
    former_secret_until: string | null;
    /** What is wrong with it, if anything. */
    notice: string | null;
    /** ISO 8601, UTC. */
    created_at: string;
  }>;
  has_more: false;
};

/** The settings of a new endpoint. */
export type WebhookParams = {
  /** A public http(s) address. */
  url: string;
  /** The event types to send. */
  events: Array<"user.connected" | "user.disconnected" | "usage.completed" | "balance.updated" | "balance.low">;
  description?: string | null | undefined;
  /** `balance.low` is sent when a balance falls below this many credits. */
  balance_low_threshold?: number | undefined;
};

/** Changes to an endpoint. */
export type WebhookChange = {
  /** A public http(s) address. */
  url?: string | undefined;
  /** The event types to send. */
  events?: Array<"user.connected" | "user.disconnected" | "usage.completed" | "balance.updated" | "balance.low"> | undefined;
  description?: string | null | undefined;
  /** `balance.low` is sent when a balance falls below this many credits. */
  balance_low_threshold?: number | undefined;
  /** false gives up what is pending; true also enables an endpoint that was disabled for failing. */
  enabled?: boolean | undefined;
  /** Makes a new secret, which is in the answer. */
  rotate_secret?: true | undefined;
  /** With `rotate_secret`: how long the secret before signs too; a day unless given, 0 ends it at once. */
  overlap_seconds?: number | undefined;
};

/** One event for one endpoint, with its attempts. */
export type WebhookDelivery = {
  id: string;
  /** The `id` of the body and the header `webhook-id`; the same in every attempt. */
  event_id: string;
  type: "user.connected" | "user.disconnected" | "usage.completed" | "balance.updated" | "balance.low";
  status: "pending" | "succeeded" | "failed";
  /** Since it was made, or retried by hand. */
  attempts: number;
  next_attempt_at: string | null;
  last_response_status: number | null;
  last_error: string | null;
  /** ISO 8601, UTC. */
  created_at: string;
};

/** The body of every error of /v1. */
export type ErrorBody = {
  /** Under /v1/messages. */
  type?: "error" | undefined;
  /** Under /v1/messages; what X-Request-Id says. */
  request_id?: string | undefined;
  error: {
    code: string;
    message: string;
    type: string;
    param: string | null;
    /** With credits_on_hold: what requests that are running hold, for those who may read the balance. */
    held?: number | undefined;
    /** Under /v1/messages, of a refused `thread`: Anthropic's clients read here that they have to do without it. */
    details?: {
      error_code: string;
      unsupported: Array<string>;
    } | undefined;
    hint?: string | undefined;
    docs_url: string;
  };
};

/** Every error code of /v1; `docs/errors.md` says when each is sent. */
export type QuotaErrorCode =
  | "bad_request"
  | "user_required"
  | "invalid_api_key"
  | "insufficient_credits"
  | "spending_limit_reached"
  | "insufficient_scope"
  | "model_not_allowed"
  | "not_found"
  | "model_not_found"
  | "method_not_allowed"
  | "request_timeout"
  | "idempotency_conflict"
  | "request_too_large"
  | "credits_on_hold"
  | "rate_limit_exceeded"
  | "rate_limit"
  | "internal_error"
  | "upstream_error"
  | "provider_unavailable"
  | "payments_unavailable"
  | "overloaded"
  | "unavailable"
  | "gateway_timeout";

/** An event; `type` tells which. Amounts are credits. */
export type QuotaEvent =
  | {
    /** The same in every attempt. */
    id: string;
    type: "user.connected";
    /** ISO 8601, UTC. */
    created_at: string;
    data: {
      /** Quota's id for the person, as in GET /v1/users. */
      user_id: string;
      /** Your app's id for the linked user. */
      external_user_id: string;
      /** ISO 8601, UTC. */
      connected_at: string;
    };
  }
  | {
    /** The same in every attempt. */
    id: string;
    type: "user.disconnected";
    /** ISO 8601, UTC. */
    created_at: string;
    data: {
      /** Quota's id for the person, as in GET /v1/users. */
      user_id: string;
      /** Your app's id for the linked user. */
      external_user_id: string;
      /** ISO 8601, UTC. */
      disconnected_at: string;
      reason: "app" | "user" | "replaced" | "expired" | "token_reused";
    };
  }
  | {
    /** The same in every attempt. */
    id: string;
    type: "usage.completed";
    /** ISO 8601, UTC. */
    created_at: string;
    data: {
      /** Quota's id for the person, as in GET /v1/users. */
      user_id: string;
      /** Your app's id for the linked user. */
      external_user_id: string;
      request_id: string;
      model: string;
      prompt_tokens: number;
      completion_tokens: number;
      total_tokens: number;
      /** Credits; 1 credit is 1 micro-dollar. */
      credits_used: number;
    };
  }
  | {
    /** The same in every attempt. */
    id: string;
    type: "balance.updated";
    /** ISO 8601, UTC. */
    created_at: string;
    data: {
      /** Quota's id for the person, as in GET /v1/users. */
      user_id: string;
      /** Your app's id for the linked user. */
      external_user_id: string;
      /** Credits; 1 credit is 1 micro-dollar. */
      new_balance: number;
      /** Credits; 1 credit is 1 micro-dollar. */
      amount_spent: number;
      model: string;
      /** The path of the request, such as /v1/chat/completions. */
      endpoint: string;
    };
  }
  | {
    /** The same in every attempt. */
    id: string;
    type: "balance.low";
    /** ISO 8601, UTC. */
    created_at: string;
    data: {
      /** Quota's id for the person, as in GET /v1/users. */
      user_id: string;
      /** Your app's id for the linked user. */
      external_user_id: string;
      /** Credits; 1 credit is 1 micro-dollar. */
      current_balance: number;
      /** Credits; 1 credit is 1 micro-dollar. */
      threshold: number;
    };
  };

/** @internal Sample data of each event. */
export const eventSamples = {
  "user.connected": {"user_id":"0193e4b2-7c1a-7d3e-9f60-2b8c4d5e6f70","external_user_id":"user_123","connected_at":"2026-11-22T12:00:00.000Z"},
  "user.disconnected": {"user_id":"0193e4b2-7c1a-7d3e-9f60-2b8c4d5e6f70","external_user_id":"user_123","disconnected_at":"2026-11-22T12:00:00.000Z","reason":"user"},
  "usage.completed": {"user_id":"0193e4b2-7c1a-7d3e-9f60-2b8c4d5e6f70","external_user_id":"user_123","request_id":"req_0193e4b27c1a7d3e9f602b8c4d5e6f71","model":"gpt-4o-mini","prompt_tokens":120,"completion_tokens":45,"total_tokens":165,"credits_used":45},
  "balance.updated": {"user_id":"0193e4b2-7c1a-7d3e-9f60-2b8c4d5e6f70","external_user_id":"user_123","new_balance":4999955,"amount_spent":45,"model":"gpt-4o-mini","endpoint":"/v1/chat/completions"},
  "balance.low": {"user_id":"0193e4b2-7c1a-7d3e-9f60-2b8c4d5e6f70","external_user_id":"user_123","current_balance":99980,"threshold":100000},
};
