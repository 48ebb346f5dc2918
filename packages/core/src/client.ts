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
 * How a client authenticates: with an API key, with a person's access token, or, for
 * exchanging codes only, with the app's OAuth client.
 */
export interface QuotaClientOptions {
  /** `sk-quota-…`, for servers. Without any credential, `QUOTA_API_KEY` of the environment is used. */
  apiKey?: string | undefined;
  /** A person's access token: they pay, within the scopes they gave. Works in browsers. */
  accessToken?: string | undefined;
  /** Renews the access token when it ends. Needs `clientId`, and `clientSecret` unless the client is public. */
  refreshToken?: string | undefined;
  /** When the access token ends, in milliseconds since 1970; it is renewed half a minute before. Without it, when the API refuses it. */
  expiresAt?: number | undefined;
  /**
   * Gets the renewed tokens, before any request uses them: store them, because the old refresh token is used up.
   * What it throws, the requests that waited for the tokens throw; later ones go on with the new tokens.
   */
  onTokens?: ((tokens: TokenSet) => void | Promise<void>) | undefined;
  /** `quota_client_…`, for `exchangeCode`, `authorizeUrl` and refreshing. */
  clientId?: string | undefined;
  /** `quota_secret_…`; never in a browser. */
  clientSecret?: string | undefined;
  /** Where the API is, as browsers reach it. Without it `QUOTA_API_URL` of the environment, or Quota's own. */
  baseUrl?: string | undefined;
  /**
   * Where this client sends its requests, when it reaches Quota under another address than
   * browsers do, such as `http://quota:3000` between containers. Links and `iss` stay those of
   * `baseUrl`. Without it `QUOTA_SERVER_URL` of the environment, or `baseUrl`.
   */
  serverUrl?: string | undefined;
  /** Who pays when a call does not say, by your id for them. */
  externalUserId?: string | undefined;
  /** How long to wait for an answer, or for the next part of a stream. 10 minutes for completions, else 60 seconds. */
  timeoutMs?: number | undefined;
  /** How often a request is tried again after 429, 5xx and network failures. 2. */
  maxRetries?: number | undefined;
  /** Instead of the runtime's fetch. */
  fetch?: typeof fetch | undefined;
  /** An API key or client secret in a browser is everybody's. true if you know that nobody else can load this page. */
  allowSecretsInBrowser?: boolean | undefined;
}

/** A credit package that a person can buy. */
export interface CreditPackage {
  /** For `createCheckout`. */
  id: string;
  /** What the person gets; 1,000,000 credits are worth one dollar. */
  credits: number;
  /** What it costs, in cents. */
  price_cents: number;
  currency: "usd";
}

/** What `authorizeUrl` puts into the link. */
export interface AuthorizeParams {
  /** Exactly as registered. */
  redirectUri: string;
  /** Comes back unchanged; compare it with what you stored in this person's browser. */
  state: string;
  /** Of `createPkce()`. */
  codeChallenge: string;
  /** Without it `credits.read credits.spend`. */
  scope?: string | undefined;
}

/** What `exchangeCode` needs. */
export interface ExchangeCodeParams {
  /** From the callback. Good for 60 seconds, once. */
  code: string;
  /** Of `createPkce()`. */
  codeVerifier: string;
  /** The same as in the link. */
  redirectUri: string;
  /** `hosted`: Quota keeps the tokens, and you name the person by `externalUserId`. */
  storageMode?: "hosted" | undefined;
  /** With `hosted`: your own id for the person; without it one is made. */
  externalUserId?: string | undefined;
}

/**
 * The API of Quota.
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
 * Every method throws a `QuotaApiError` when the API refuses, a `QuotaConnectionError`
 * when no answer came, and the signal's reason when you end it.
 */
export class QuotaClient {
  /** Where the API is for browsers, without a slash at the end. It is also the issuer that `iss` names. */
  readonly baseUrl: string;
  readonly #serverUrl: string;
  readonly #options: QuotaClientOptions;
  #tokens: { accessToken: string; refreshToken: string | undefined; expiresAt: number } | undefined;
  #refreshing: Promise<void> | undefined;

  /** Takes no network. Throws when a secret is given in a browser. */
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
   * Completes a conversation. JSON requests carry an idempotency key of their own, so
   * a retry is never billed twice; a stream is sent again only when it was refused.
   *
   * Throws `InsufficientCreditsError` when the payer cannot pay at least 16 output tokens,
   * `NotFoundError` when nobody is linked under `externalUserId`.
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

  /** A linked user, by your id for them. Throws `NotFoundError` when nobody is linked under it. */
  getUser(externalUserId: string, options?: RequestOptions): Promise<LinkedUser> {
    return this.#json({ ...options, path: `/v1/users/${encodeURIComponent(externalUserId)}` });
  }

  /** Your linked users, newest first, page by page. */
  listUsers(params: PageParams = {}, options?: RequestOptions): Promise<LinkedUserList> {
    return this.#json({ ...options, path: `/v1/users${query(params)}` });
  }

  /** Ends a link. The person keeps their account and balance. Throws `NotFoundError` when there is none. */
  unlinkUser(externalUserId: string, options?: RequestOptions): Promise<Success> {
    return this.#json({ ...options, path: `/v1/users/${encodeURIComponent(externalUserId)}/link`, method: "DELETE" });
  }

  /** The balance that a completion with the same credential and `externalUserId` would be billed to. */
  getBalance(options?: PayerOptions): Promise<Balance> {
    return this.#json({ ...options, path: "/v1/balance", payer: true });
  }

  /** Who this credential is, and a summary of 30 days. */
  getMe(options?: RequestOptions): Promise<Me> {
    return this.#json({ ...options, path: "/v1/me" });
  }

  /** The models and their prices. Needs no credential. */
  listModels(options?: RequestOptions): Promise<ModelList> {
    return this.#json({ ...options, path: "/v1/models", open: true });
  }

  /** What was used, request by request, or in sums with `group_by`. */
  getUsage(params: UsageParams = {}, options?: RequestOptions): Promise<UsagePage> {
    return this.#json({ ...options, path: `/v1/usage${query(params)}` });
  }

  /** Gives credits from your own wallet to a linked user. Throws `InsufficientCreditsError` when yours has too few. */
  fundUser(params: FundingRequest, options?: WriteOptions): Promise<Funding> {
    return this.#json({ ...options, path: "/v1/funding/credit", body: params });
  }

  /** The credit packages on sale. */
  async listPackages(options?: RequestOptions): Promise<CreditPackage[]> {
    return (await this.#json<{ data: CreditPackage[] }>({ ...options, path: "/v1/packages" })).data;
  }

  /** A page where the payer buys a package; they come back to `returnUrl`, which must be on your app's own site. */
  createCheckout(params: { packageId: string; returnUrl: string }, options?: PayerOptions & WriteOptions): Promise<{ url: string }> {
    const body = { package_id: params.packageId, return_url: params.returnUrl };
    return this.#json({ ...options, path: "/v1/checkout", body, payer: true });
  }

  /** Your endpoints for webhooks. */
  listWebhooks(options?: RequestOptions): Promise<WebhookList> {
    return this.#json({ ...options, path: "/v1/webhooks" });
  }

  /** Makes an endpoint. Its `secret` is in this answer, also when it is repeated with the same `idempotencyKey`, and never again. */
  createWebhook(params: WebhookParams, options?: WriteOptions): Promise<WebhookWithSecret> {
    return this.#json({ ...options, path: "/v1/webhooks", body: params });
  }

  /**
   * Changes an endpoint; with `rotate_secret` the new `secret` is in the answer. A rotation is
   * sent again only when it was refused: twice, it would end a secret that nobody has replaced yet.
   */
  updateWebhook(id: string, changes: WebhookChange, options?: RequestOptions): Promise<WebhookWithSecret> {
    const path = `/v1/webhooks/${encodeURIComponent(id)}`;
    return this.#json({ ...options, path, method: "PATCH", body: changes, once: changes.rotate_secret === true });
  }

  /** Removes an endpoint, and what is still to be delivered to it. */
  deleteWebhook(id: string, options?: RequestOptions): Promise<Success> {
    return this.#json({ ...options, path: `/v1/webhooks/${encodeURIComponent(id)}`, method: "DELETE" });
  }

  /** Sends a sample to an endpoint, as the event that it is a sample of would be. */
  testWebhook(id: string, params: { type?: Webhook["events"][number] } = {}, options?: WriteOptions): Promise<WebhookDelivery> {
    return this.#json({ ...options, path: `/v1/webhooks/${encodeURIComponent(id)}/test`, body: params });
  }

  /** Where to send a person who wants to connect their wallet. Takes no network. */
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
   * Exchanges the code of a callback. Compare `state`, and `iss` with `baseUrl`, first.
   * Throws `QuotaOAuthError`; `invalid_grant` means that the code is used, old, or not yours.
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
    // One key for all attempts, so that the server does it once.
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

  /** Renews the tokens once, however many requests need it; none when another request did so meanwhile. */
  async #refresh(used: string): Promise<void> {
    const tokens = this.#tokens;
    if (!tokens?.refreshToken || tokens.accessToken !== used) return;
    this.#refreshing ??= (async () => {
      const answer = await this.#token({ grant_type: "refresh_token", refresh_token: tokens.refreshToken }, {});
      const renewed = { refreshToken: tokens.refreshToken, ...tokenSet(answer as TokenAnswer) };
      try {
        await this.#options.onTokens?.(renewed);
      } finally {
        // Stored or not: the old refresh token is used up, and using it again would end the link.
        this.#tokens = renewed;
      }
    })().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** One request to the token endpoint. A code or a refresh token works once, so nothing is sent twice. */
  async #token(form: Record<string, string | undefined>, options: RequestOptions): Promise<TokenAnswer | HostedAnswer> {
    const { clientId, clientSecret } = this.#options;
    if (!clientId) throw new QuotaError("Give clientId to QuotaClient to exchange codes or to refresh tokens.");
    const fields = new URLSearchParams();
    for (const [name, value] of Object.entries(form)) if (value !== undefined) fields.set(name, value);
    const headers: Record<string, string> = { accept: "application/json", "content-type": "application/x-www-form-urlencoded" };
    // RFC 6749 §2.3.1: both are form-encoded before they are put together.
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
      // Browsers' fetch wants to be called on its window.
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
    /** Names who pays. */
    payer?: boolean;
    /** A model may think for minutes. */
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

/** Header values are bytes without a character set, so anything beyond ASCII is spelled as RFC 8187 has it. */
function headerText(value: string): string {
  return /^[\x20-\x7e]*$/.test(value) && !/^UTF-8''/i.test(value) ? value : `UTF-8''${encodeURIComponent(value)}`;
}

function query(params: object): string {
  const given = Object.entries(params).filter(([, value]) => value !== undefined);
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text && `?${text}`;
}

/** What comes before a path, also when it was written with a slash or the version at the end. */
function addressOf(url: string): string {
  return url.replace(/\/+$/, "").replace(/\/v1$/, "");
}

/** An environment variable, in runtimes that have some. */
function environment(name: string): string | undefined {
  return (globalThis as { process?: { env?: Record<string, string | undefined> } }).process?.env?.[name];
}
