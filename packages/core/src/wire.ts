// Made by packages/wire-types.ts from the server's schemas. Do not edit.

/** What a request cost, and what is left. */
export type Quota = {
  /** Credits; 1 credit is 1 micro-dollar. */
  credits_used: number;
  /** The payer's balance after this request; null in the rare case that the books could not be read in time. */
  balance_after: number | null;
  billing_mode: "developer" | "user" | "test";
  external_user_id?: string | undefined;
};

/** What the server needs of a chat completion; other parameters go to the provider. */
export type WireChatCompletionRequest = {
  /** A model from GET /v1/models. */
  model: string;
  messages: Array<{
    role: string;
    [other: string]: unknown;
  }>;
  stream?: boolean | null | undefined;
  max_tokens?: number | null | undefined;
  max_completion_tokens?: number | null | undefined;
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
    /** The payer's balance after this request; null in the rare case that the books could not be read in time. */
    balance_after: number | null;
    billing_mode: "developer" | "user" | "test";
    external_user_id?: string | undefined;
  };
  [other: string]: unknown;
};

/** A person who connected their wallet to your app. */
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

/** A linked user, with your id for them. */
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

/** Which page of a list. */
export type PageParams = {
  limit?: number | undefined;
  /** The id of the last item of the page before. */
  starting_after?: string | undefined;
};

/** It worked. */
export type Success = {
  success: true;
};

/** A model and its price. */
export type Model = {
  id: string;
  object: "model";
  created: number;
  owned_by: string;
  /** US dollars, as decimal text; the app's markup comes on top. */
  pricing: {
    prompt_per_1k_tokens: string;
    completion_per_1k_tokens: string;
  };
  context_length: number;
  max_output_tokens: number;
};

/** The models that can be asked. */
export type ModelList = {
  object: "list";
  data: Array<{
    id: string;
    object: "model";
    created: number;
    owned_by: string;
    /** US dollars, as decimal text; the app's markup comes on top. */
    pricing: {
      prompt_per_1k_tokens: string;
      completion_per_1k_tokens: string;
    };
    context_length: number;
    max_output_tokens: number;
  }>;
};

/** What the payer of a request has. */
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

/** Who a credential is. */
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

/** Which usage to report. */
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

/** Single requests, or with `group_by` sums. */
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

/** What every error of /v1 looks like. */
export type ErrorBody = {
  error: {
    code: string;
    message: string;
    type: string;
    param: string | null;
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
  | "idempotency_conflict"
  | "request_too_large"
  | "rate_limit_exceeded"
  | "rate_limit"
  | "internal_error"
  | "upstream_error"
  | "provider_unavailable"
  | "overloaded"
  | "gateway_timeout";
