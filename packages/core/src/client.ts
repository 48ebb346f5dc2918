import { AuthenticationError, QuotaError } from "./errors.ts";
import { randomText } from "./pkce.ts";
import { ChatCompletionStream } from "./stream.ts";
import { type Incoming, send, textOf } from "./transport.ts";
import type { ChatCompletion, ChatCompletionParams, HostedLink, PayerOptions, RequestOptions, TokenSet, WriteOptions } from "./types.ts";
import type {
  Balance,
  Funding,
  FundingRequest,
  LinkedUser,
  LinkedUserList,
  Me,
  ModelList,
  PageParams,
  Success,
  UsagePage,
  UsageParams,
  Webhook,
  WebhookChange,
  WebhookDelivery,
  WebhookList,
  WebhookParams,
  WebhookWithSecret,
} from "./wire.ts";

/**
 * How a client authenticates: with an API key, with a user's access token, or, for
 * exchanging codes only, with the app's OAuth client.
 */
export interface QuotaClientOptions {
  /** `sk-quota-…`, for servers. Without any credential, the environment's `QUOTA_API_KEY` is used. */
  apiKey?: string | undefined;
  /** A user's access token: that user pays, within the granted scopes. Works in browsers. */
  accessToken?: string | undefined;
  /** Renews the access token when it expires. Needs `clientId`, and `clientSecret` unless the client is public. */
  refreshToken?: string | undefined;
  /** When the access token expires, in milliseconds since 1970; the client renews it half a minute before. Without it, the client renews the token when the API refuses it. */
  expiresAt?: number | undefined;
  /**
   * Called with the renewed tokens before any request uses them. Store them, because the old refresh token no longer works.
   * An error that this function throws is thrown by the requests that waited for the tokens; later requests use the new tokens.
   */
  onTokens?: ((tokens: TokenSet) => void | Promise<void>) | undefined;
  /** `quota_client_…`, for `exchangeCode`, `authorizeUrl` and refreshing. */
  clientId?: string | undefined;
  /** `quota_secret_…`; never in a browser. */
  clientSecret?: string | undefined;
  /** The API's address as browsers reach it. The default is the environment's `QUOTA_API_URL`, or Quota's own address. */
  baseUrl?: string | undefined;
  /**
   * The address that this client sends its requests to, when it reaches Quota at another address than
   * browsers do, such as `http://quota:3000` between containers. Links and `iss` keep the address of
   * `baseUrl`. The default is the environment's `QUOTA_SERVER_URL`, or `baseUrl`.
   */
  serverUrl?: string | undefined;
  /** The linked user who pays when a call names none, by your app's id. */
  externalUserId?: string | undefined;
  /** Milliseconds to wait for an answer, or for the next part of a stream. The default is 10 minutes for completions, else 60 seconds. */
  timeoutMs?: number | undefined;
  /** How often a request is repeated after 429, 5xx and network failures. The default is 2. */
  maxRetries?: number | undefined;
  /** Used instead of the runtime's fetch. */
  fetch?: typeof fetch | undefined;
  /** Allows an API key or client secret in a browser, where every visitor of the page can read it. */
  allowSecretsInBrowser?: boolean | undefined;
}

/** A credit package that a user can buy. */
export interface CreditPackage {
  /** The `packageId` of `createCheckout`. */
  id: string;
  /** The credits that the user gets; 1,000,000 credits are worth one dollar. */
  credits: number;
  /** The price in cents. */
  price_cents: number;
  currency: "usd";
}

/** Parameters of `authorizeUrl`. */
export interface AuthorizeParams {
  /** Exactly as registered. */
  redirectUri: string;
  /** Returned unchanged in the callback; compare it with the value that you stored in this browser. */
  state: string;
  /** From `createPkce()`. */
  codeChallenge: string;
  /** Scopes separated by spaces. The default is `credits.read credits.spend`. */
  scope?: string | undefined;
}

/** Parameters of `exchangeCode`. */
export interface ExchangeCodeParams {
  /** From the callback. Works once, within 60 seconds. */
  code: string;
  /** From `createPkce()`. */
  codeVerifier: string;
  /** The `redirectUri` of the link. */
  redirectUri: string;
  /** `hosted`: Quota keeps the tokens, and you name the user by `externalUserId`. */
  storageMode?: "hosted" | undefined;
  /** With `hosted`: your app's id for the user. Without it Quota makes one. */
  externalUserId?: string | undefined;
}

/**
 * A client for Quota's API.
 *
 * @example
 * ```ts
 * const quota = new QuotaClient({ apiKey: process.env.QUOTA_API_KEY });
 * const answer = await quota.createChatCompletion(
 *   { model: "gpt-4o-mini", messages: [{ role: "user", content: "Hello!" }] },
 *   { externalUserId: "user_123" },
 * );
 * ```
 *
 * Amounts are credits, whole numbers of micro-dollars: 1,000,000 are one dollar.
 * Every method throws a `QuotaApiError` when the API answers with an error, a `QuotaConnectionError`
 * when no answer came, and the signal's reason when your signal aborts the request.
 */
export class QuotaClient {
  /** The API's address for browsers, without a slash at the end. Also the issuer, which `iss` names. */
  readonly baseUrl: string;
  readonly #serverUrl: string;
  readonly #options: QuotaClientOptions;
  #tokens: { accessToken: string; refreshToken: string | undefined; expiresAt: number } | undefined;
  #refreshing: Promise<void> | undefined;

  /** Makes no request. Throws `QuotaError` when a secret is given in a browser. */
  constructor(options: QuotaClientOptions = {}) {
    const { accessToken, refreshToken, expiresAt = Number.POSITIVE_INFINITY } = options;
    const keyed = accessToken || options.clientId ? options : { ...options, apiKey: options.apiKey || environment("QUOTA_API_KEY") };
    if ((keyed.apiKey || keyed.clientSecret) && !keyed.allowSecretsInBrowser && "document" in globalThis) {
      throw new QuotaError("An API key or client secret in a browser is everybody's. Call Quota from your server, or use an access token.");
    }
    this.#options = keyed;
    this.#tokens = accessToken ? { accessToken, refreshToken, expiresAt } : undefined;
    this.baseUrl = addressOf(options.baseUrl || environment("QUOTA_API_URL") || "https://api.usequota.ai");
    this.#serverUrl = addressOf(options.serverUrl || environment("QUOTA_SERVER_URL") || this.baseUrl);
  }

  /**
   * Completes a conversation. JSON requests carry an idempotency key, so a retry is never
   * billed twice; a stream is repeated only when the server refused it.
   *
   * Throws `InsufficientCreditsError` when the payer cannot pay for at least 16 output tokens,
   * `NotFoundError` when no user is linked under `externalUserId`.
   */
  createChatCompletion(params: ChatCompletionParams & { stream: true }, options?: PayerOptions): Promise<ChatCompletionStream>;
  createChatCompletion(
    params: ChatCompletionParams & { stream?: false | null | undefined },
    options?: PayerOptions & WriteOptions,
  ): Promise<ChatCompletion>;
  createChatCompletion(params: ChatCompletionParams, options?: PayerOptions & WriteOptions): Promise<ChatCompletion | ChatCompletionStream>;
  async createChatCompletion(
    params: ChatCompletionParams,
    options: PayerOptions & WriteOptions = {},
  ): Promise<ChatCompletion | ChatCompletionStream> {
    const request = { ...options, path: "/v1/chat/completions", body: params, payer: true, slow: true };
    return params.stream ? new ChatCompletionStream(await this.#send({ ...request, once: true })) : this.#json(request);
  }

  /** A linked user, by your app's id. Throws `NotFoundError` when no user is linked under it. */
  getUser(externalUserId: string, options?: RequestOptions): Promise<LinkedUser> {
    return this.#json({ ...options, path: `/v1/users/${encodeURIComponent(externalUserId)}` });
  }

  /** Your app's linked users, newest first, one page. */
  listUsers(params: PageParams = {}, options?: RequestOptions): Promise<LinkedUserList> {
    return this.#json({ ...options, path: `/v1/users${query(params)}` });
  }

  /** Ends a link. The user keeps the account and the balance. Throws `NotFoundError` when there is no such link. */
  unlinkUser(externalUserId: string, options?: RequestOptions): Promise<Success> {
    return this.#json({ ...options, path: `/v1/users/${encodeURIComponent(externalUserId)}/link`, method: "DELETE" });
  }

  /** The balance of the wallet that a completion with the same credential and `externalUserId` would be billed to. */
  getBalance(options?: PayerOptions): Promise<Balance> {
    return this.#json({ ...options, path: "/v1/balance", payer: true });
  }

  /** The API key and app, or the user, of this credential, with a summary of 30 days. */
  getMe(options?: RequestOptions): Promise<Me> {
    return this.#json({ ...options, path: "/v1/me" });
  }

  /** The models and their prices. Needs no credential. */
  listModels(options?: RequestOptions): Promise<ModelList> {
    return this.#json({ ...options, path: "/v1/models", open: true });
  }

  /** Usage, request by request, or in sums with `group_by`. */
  getUsage(params: UsageParams = {}, options?: RequestOptions): Promise<UsagePage> {
    return this.#json({ ...options, path: `/v1/usage${query(params)}` });
  }

  /** Gives credits from your own wallet to a linked user. Throws `InsufficientCreditsError` when your wallet has too few. */
  fundUser(params: FundingRequest, options?: WriteOptions): Promise<Funding> {
    return this.#json({ ...options, path: "/v1/funding/credit", body: params });
  }

  /** The credit packages on sale. */
  async listPackages(options?: RequestOptions): Promise<CreditPackage[]> {
    return (await this.#json<{ data: CreditPackage[] }>({ ...options, path: "/v1/packages" })).data;
  }

  /** The address of a page where the payer buys a package. It returns to `returnUrl`, which must be on an origin that your app has registered. */
  createCheckout(params: { packageId: string; returnUrl: string }, options?: PayerOptions & WriteOptions): Promise<{ url: string }> {
    const body = { package_id: params.packageId, return_url: params.returnUrl };
    return this.#json({ ...options, path: "/v1/checkout", body, payer: true });
  }

  /** Your app's webhook endpoints. */
  listWebhooks(options?: RequestOptions): Promise<WebhookList> {
    return this.#json({ ...options, path: "/v1/webhooks" });
  }

  /** Creates an endpoint. `secret` is only in this answer, also when the call is repeated with the same `idempotencyKey`. */
  createWebhook(params: WebhookParams, options?: WriteOptions): Promise<WebhookWithSecret> {
    return this.#json({ ...options, path: "/v1/webhooks", body: params });
  }

  /**
   * Changes an endpoint; with `rotate_secret` the answer has the new `secret`. A rotation is repeated
   * only when the server refused it: a second rotation would end the former secret before your receiver has the new one.
   */
  updateWebhook(id: string, changes: WebhookChange, options?: RequestOptions): Promise<WebhookWithSecret> {
    const path = `/v1/webhooks/${encodeURIComponent(id)}`;
    return this.#json({ ...options, path, method: "PATCH", body: changes, once: changes.rotate_secret === true });
  }

  /** Deletes an endpoint and its pending deliveries. */
  deleteWebhook(id: string, options?: RequestOptions): Promise<Success> {
    return this.#json({ ...options, path: `/v1/webhooks/${encodeURIComponent(id)}`, method: "DELETE" });
  }

  /** Delivers a sample event to an endpoint, signed and retried like a real one. */
  testWebhook(id: string, params: { type?: Webhook["events"][number] } = {}, options?: WriteOptions): Promise<WebhookDelivery> {
    return this.#json({ ...options, path: `/v1/webhooks/${encodeURIComponent(id)}/test`, body: params });
  }

  /** The address where a user connects their wallet. Makes no request. */
  authorizeUrl({ redirectUri, state, codeChallenge, scope }: AuthorizeParams): string {
    const parameters = new URLSearchParams({
      response_type: "code",
      client_id: this.#options.clientId ?? "",
      redirect_uri: redirectUri,
      state,
      code_challenge: codeChallenge,
      code_challenge_method: "S256",
      ...(scope === undefined ? {} : { scope }),
    });
    return `${this.baseUrl}/oauth/authorize?${parameters}`;
  }

  /**
   * Exchanges the code of a callback. Before, compare `state` with the stored one and `iss` with `baseUrl`.
   * Throws `QuotaOAuthError`; its code `invalid_grant` means that the code was used, has expired, or belongs to another client.
   */
  exchangeCode(params: ExchangeCodeParams & { storageMode: "hosted" }, options?: RequestOptions): Promise<HostedLink>;
  exchangeCode(params: ExchangeCodeParams & { storageMode?: undefined }, options?: RequestOptions): Promise<TokenSet>;
  async exchangeCode(params: ExchangeCodeParams, options: RequestOptions = {}): Promise<HostedLink | TokenSet> {
    const answer = await this.#token(
      {
        grant_type: "authorization_code",
        code: params.code,
        code_verifier: params.codeVerifier,
        redirect_uri: params.redirectUri,
        storage_mode: params.storageMode,
        external_user_id: params.externalUserId,
      },
      options,
    );
    if (!("storage_mode" in answer)) return tokenSet(answer);
    return {
      storageMode: "hosted",
      externalUserId: answer.external_user_id,
      scope: answer.scope,
      user: answer.user,
      linkedAt: answer.linked_at,
    };
  }

  async #json<T>(request: ApiRequest): Promise<T> {
    return JSON.parse(await textOf(await this.#send(request))) as T;
  }

  async #send(request: ApiRequest): Promise<Incoming> {
    const { path, body, open, once, payer, slow } = request;
    const method = request.method ?? (body === undefined ? "GET" : "POST");
    const headers: Record<string, string> = { accept: "application/json" };
    const user = payer ? (request.externalUserId ?? this.#options.externalUserId) : undefined;
    if (user !== undefined) headers["x-quota-user"] = headerText(user);
    if (body !== undefined) headers["content-type"] = "application/json";
    // One key for all attempts, so that the server carries the request out once.
    if (method === "POST" && !once) headers["idempotency-key"] = request.idempotencyKey ?? randomText();
    const sendAs = (credential: string | undefined) =>
      this.#deliver(
        {
          path,
          method,
          headers: credential === undefined ? headers : { ...headers, authorization: `Bearer ${credential}` },
          body: body === undefined ? undefined : JSON.stringify(body),
          repeatable: !once,
        },
        request,
        slow ? 600_000 : 60_000,
      );
    if (open && !this.#tokens && !this.#options.apiKey) return sendAs(undefined);
    if (!this.#tokens) {
      if (this.#options.apiKey) return sendAs(this.#options.apiKey);
      throw new QuotaError("There is no credential: give apiKey or accessToken to QuotaClient, or set QUOTA_API_KEY.");
    }
    if (this.#tokens.expiresAt - Date.now() < 30_000) await this.#refresh(this.#tokens.accessToken);
    const { accessToken } = this.#tokens;
    try {
      return await sendAs(accessToken);
    } catch (error) {
      if (!(error instanceof AuthenticationError) || !this.#tokens.refreshToken) throw error;
      await this.#refresh(accessToken);
      return sendAs(this.#tokens.accessToken);
    }
  }

  /** Renews the tokens once for all requests that wait; does nothing when another request has already renewed them. */
  async #refresh(used: string): Promise<void> {
    const tokens = this.#tokens;
    if (!tokens?.refreshToken || tokens.accessToken !== used) return;
    this.#refreshing ??= (async () => {
      const answer = await this.#token({ grant_type: "refresh_token", refresh_token: tokens.refreshToken }, {});
      const renewed = { refreshToken: tokens.refreshToken, ...tokenSet(answer as TokenAnswer) };
      try {
        await this.#options.onTokens?.(renewed);
      } finally {
        // Also when storing failed: the old refresh token was used, and using it again would end the link.
        this.#tokens = renewed;
      }
    })().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** One request to the token endpoint, sent once, because a code or refresh token works once. */
  async #token(form: Record<string, string | undefined>, options: RequestOptions): Promise<TokenAnswer | HostedAnswer> {
    const { clientId, clientSecret } = this.#options;
    if (!clientId) throw new QuotaError("Give clientId to QuotaClient to exchange codes or to refresh tokens.");
    const fields = new URLSearchParams();
    for (const [name, value] of Object.entries(form)) if (value !== undefined) fields.set(name, value);
    const headers: Record<string, string> = { accept: "application/json", "content-type": "application/x-www-form-urlencoded" };
    // RFC 6749 §2.3.1: both are form-encoded before they are joined.
    if (clientSecret) headers.authorization = `Basic ${btoa(`${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`)}`;
    else fields.set("client_id", clientId);
    const request = { path: "/oauth/token", method: "POST", headers, body: fields.toString(), repeatable: false };
    return JSON.parse(await textOf(await this.#deliver(request, options, 60_000))) as TokenAnswer | HostedAnswer;
  }

  #deliver(
    request: { path: string; method: string; headers: Record<string, string>; body: string | undefined; repeatable: boolean },
    options: RequestOptions,
    timeoutMs: number,
  ): Promise<Incoming> {
    const { path, ...rest } = request;
    return send({
      ...rest,
      url: this.#serverUrl + path,
      signal: options.signal,
      timeoutMs: options.timeoutMs ?? this.#options.timeoutMs ?? timeoutMs,
      maxRetries: options.maxRetries ?? this.#options.maxRetries ?? 2,
      // Browsers' fetch throws when `this` is not the window.
      fetch: this.#options.fetch ?? ((...args) => globalThis.fetch(...args)),
    });
  }
}

type ApiRequest = PayerOptions &
  WriteOptions & {
    path: string;
    method?: string;
    body?: unknown;
    /** Needs no credential. */
    open?: boolean;
    /** Must not be sent twice. */
    once?: boolean;
    /** Names the payer. */
    payer?: boolean;
    /** Gets the longer time limit, because a model may think for minutes. */
    slow?: boolean;
  };

type TokenAnswer = { access_token: string; refresh_token?: string; expires_in: number; scope?: string; id_token?: string };
type HostedAnswer = {
  storage_mode: "hosted";
  external_user_id: string;
  scope: string;
  user: { id: string; email: string };
  linked_at: string;
};

function tokenSet(answer: TokenAnswer): TokenSet {
  return {
    accessToken: answer.access_token,
    ...(answer.refresh_token === undefined ? {} : { refreshToken: answer.refresh_token }),
    expiresAt: Date.now() + answer.expires_in * 1000,
    scope: answer.scope ?? "",
    ...(answer.id_token === undefined ? {} : { idToken: answer.id_token }),
  };
}

/** Header values have no character set, so text beyond ASCII is encoded as in RFC 8187. */
function headerText(value: string): string {
  return /^[\x20-\x7e]*$/.test(value) && !/^UTF-8''/i.test(value) ? value : `UTF-8''${encodeURIComponent(value)}`;
}

function query(params: object): string {
  const given = Object.entries(params).filter(([, value]) => value !== undefined);
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text && `?${text}`;
}

/** An address without a trailing slash and `/v1`, which callers may have written. */
function addressOf(url: string): string {
  return url.replace(/\/+$/, "").replace(/\/v1$/, "");
}

/** An environment variable; undefined in runtimes without an environment. */
function environment(name: string): string | undefined {
  return (globalThis as { process?: { env?: Record<string, string | undefined> } }).process?.env?.[name];
}
