import {
  AuthenticationError,
  BadRequestError,
  ConflictError,
  constructEvent,
  createPkce,
  GatewayTimeoutError,
  InsufficientCreditsError,
  InternalServerError,
  NotFoundError,
  PermissionDeniedError,
  QuotaApiError,
  QuotaClient,
  type QuotaClientOptions,
  QuotaConnectionError,
  QuotaOAuthError,
  QuotaTimeoutError,
  RateLimitError,
  RequestTooLargeError,
  type TokenSet,
  UnavailableError,
  UpstreamError,
  verifyWebhookSignature,
  WebhookVerificationError,
} from "../src/index.ts";
import { makeEvent, makeWebhookSecret, signWebhook } from "../src/testing.ts";
import { waitBefore } from "../src/transport.ts";

/**
 * The guarantees of core, as functions that any runtime with fetch and Web Crypto can run: Node, a
 * browser, an edge runtime. Each function throws when its guarantee does not hold.
 */
export const suite: Record<string, () => Promise<void>> = {
  async "a completion goes out as OpenAI has it, with the key and the payer"() {
    const api = fakeApi([json({ id: "c1", choices: [{ message: { content: "Hi" } }], quota: { credits_used: 3 } })]);
    const answer = await api.client.createChatCompletion(
      { model: "gpt-4o-mini", messages: [{ role: "user", content: "Hello!" }], logit_bias: { 1: 2 } },
      { externalUserId: "user_123" },
    );
    equal([answer.choices[0]?.message.content, answer.quota.credits_used], ["Hi", 3]);
    const [sent] = api.sent;
    equal([sent?.url, sent?.method], ["https://quota.test/v1/chat/completions", "POST"]);
    equal(
      [sent?.headers.get("authorization"), sent?.headers.get("x-quota-user"), sent?.headers.get("content-type")],
      ["Bearer sk-quota-test", "user_123", "application/json"],
    );
    equal(JSON.parse(sent?.body ?? ""), {
      model: "gpt-4o-mini",
      messages: [{ role: "user", content: "Hello!" }],
      logit_bias: { 1: 2 },
    });
  },

  async "ids beyond ASCII are spelled so that no character set has to be guessed"() {
    const api = fakeApi([json({}), json({}), json({}), json({})]);
    await api.client.getBalance({ externalUserId: "Élodie 🦊" });
    await api.client.getBalance({ externalUserId: "UTF-8''x" });
    await api.client.getBalance({ externalUserId: "a b%2F" });
    await api.client.getUser("a/b?é");
    equal(
      api.sent.slice(0, 3).map(({ headers }) => headers.get("x-quota-user")),
      ["UTF-8''%C3%89lodie%20%F0%9F%A6%8A", "UTF-8''UTF-8''x", "a b%2F"],
    );
    equal(api.sent[3]?.url, "https://quota.test/v1/users/a%2Fb%3F%C3%A9");
  },

  async "with an address for servers, requests go there, and links and the issuer are those that browsers know"() {
    const api = fakeApi([json({}), json({ access_token: "t", expires_in: 60 })], { serverUrl: "http://quota:3000/v1/", clientId: "c" });
    await api.client.getBalance();
    await api.client.exchangeCode({ code: "a", codeVerifier: "b", redirectUri: "https://app.test/cb" });
    equal(
      api.sent.map(({ url }) => url),
      ["http://quota:3000/v1/balance", "http://quota:3000/oauth/token"],
    );
    const link = api.client.authorizeUrl({ redirectUri: "https://app.test/cb", state: "s", codeChallenge: "c" });
    equal([new URL(link).origin, api.client.baseUrl], ["https://quota.test", "https://quota.test"]);
  },

  async "every method asks the path it says"() {
    const api = fakeApi(Array.from({ length: 16 }, () => json({ data: [], url: "u" })));
    const { client } = api;
    await client.getUser("u1");
    await client.listUsers({ limit: 2, starting_after: "u9" });
    await client.unlinkUser("u1");
    await client.getBalance();
    await client.getMe();
    await client.listModels();
    await client.getUsage({ group_by: "day", external_user_id: "u1" });
    await client.fundUser({ external_user_id: "u1", amount: 5 });
    await client.listPackages();
    await client.createCheckout({ packageId: "p", returnUrl: "https://app.test/" }, { externalUserId: "u1" });
    await client.listUsers();
    await client.listWebhooks();
    await client.createWebhook({ url: "https://app.test/hook", events: ["user.connected"] });
    await client.updateWebhook("we_1", { enabled: false });
    await client.deleteWebhook("we_1");
    await client.testWebhook("we_1");
    equal(
      api.sent.map(({ method, url }) => `${method} ${url.replace("https://quota.test", "")}`),
      [
        "GET /v1/users/u1",
        "GET /v1/users?limit=2&starting_after=u9",
        "DELETE /v1/users/u1/link",
        "GET /v1/balance",
        "GET /v1/me",
        "GET /v1/models",
        "GET /v1/usage?group_by=day&external_user_id=u1",
        "POST /v1/funding/credit",
        "GET /v1/packages",
        "POST /v1/checkout",
        "GET /v1/users",
        "GET /v1/webhooks",
        "POST /v1/webhooks",
        "PATCH /v1/webhooks/we_1",
        "DELETE /v1/webhooks/we_1",
        "POST /v1/webhooks/we_1/test",
      ],
    );
    equal(JSON.parse(api.sent[9]?.body ?? ""), { package_id: "p", return_url: "https://app.test/" });
  },

  async "each status has its error class, with everything that the answer says"() {
    const classes: [number, typeof QuotaApiError][] = [
      [400, BadRequestError],
      [401, AuthenticationError],
      [402, InsufficientCreditsError],
      [403, PermissionDeniedError],
      [404, NotFoundError],
      [409, ConflictError],
      [413, RequestTooLargeError],
      [418, QuotaApiError],
      [429, RateLimitError],
      [500, InternalServerError],
      [502, UpstreamError],
      [503, UnavailableError],
      [504, GatewayTimeoutError],
    ];
    for (const [status, type] of classes) {
      const error = { code: "the_code", message: "Sentence.", type: "a_type", param: "model", hint: "Do this.", docs_url: "https://d" };
      const api = fakeApi([json({ error }, status, { "x-request-id": "req_1", "retry-after": "7" })], { maxRetries: 0 });
      const thrown = await rejection(api.client.getBalance());
      check(thrown instanceof type && thrown instanceof QuotaApiError, `${status} is ${type.name}`);
      const { code, message, param, hint, docsUrl, requestId, retryAfterMs } = thrown as QuotaApiError;
      equal(
        [(thrown as QuotaApiError).status, code, message, param, hint, docsUrl, requestId, retryAfterMs, (thrown as QuotaApiError).type],
        [status, "the_code", "Sentence.", "model", "Do this.", "https://d", "req_1", 7_000, "a_type"],
      );
    }
  },

  async "an answer that is no JSON is an error with its status"() {
    const api = fakeApi([new Response("<html>Bad gateway", { status: 502 })], { maxRetries: 0 });
    const thrown = (await rejection(api.client.getBalance())) as QuotaApiError;
    equal([thrown.name, thrown.status, thrown.code], ["UpstreamError", 502, "unknown"]);
  },

  async "429, 5xx and a failed network are tried again with the same idempotency key"() {
    const busy = () => json({ error: { code: "overloaded" } }, 503, { "retry-after": "0" });
    const api = fakeApi([busy(), "network", json({ id: "c" })], { maxRetries: 5 });
    await api.client.createChatCompletion(hello);
    const keys = api.sent.map(({ headers }) => headers.get("idempotency-key"));
    equal(keys.length, 3);
    check(keys[0] !== null && (keys[0]?.length ?? 0) > 20, "a key is made");
    check(
      keys.every((key) => key === keys[0]),
      "and kept",
    );
    const own = fakeApi([json({})]);
    await own.client.createChatCompletion(hello, { idempotencyKey: "mine" });
    equal(own.sent[0]?.headers.get("idempotency-key"), "mine");
  },

  async "attempts end: the last error is thrown, and nothing else is tried again"() {
    const busy = () => json({ error: { code: "overloaded" } }, 503, { "retry-after": "0" });
    const api = fakeApi([busy(), busy(), busy(), busy()], { maxRetries: 2 });
    check((await rejection(api.client.getBalance())) instanceof UnavailableError, "thrown");
    equal(api.sent.length, 3);
    for (const status of [400, 401, 402, 403, 404, 409, 413]) {
      const once = fakeApi([json({ error: { code: "x" } }, status), json({})]);
      await rejection(once.client.getBalance());
      equal([status, once.sent.length], [status, 1]);
    }
  },

  async "a first request that still runs is waited for, another one's key is not"() {
    const running = fakeApi([json({ error: { code: "idempotency_conflict" } }, 409, { "retry-after": "0" }), json({ id: "c" })]);
    equal((await running.client.createChatCompletion(hello)).id, "c");
    const other = fakeApi([json({ error: { code: "idempotency_conflict" } }, 409), json({})]);
    check((await rejection(other.client.createChatCompletion(hello, { idempotencyKey: "k" }))) instanceof ConflictError, "thrown");
  },

  async "a stream is sent again when it was refused, and never when nobody knows what became of it"() {
    const refused = fakeApi([json({ error: { code: "overloaded" } }, 503, { "retry-after": "0" }), sse("[DONE]")]);
    for await (const _ of await refused.client.createChatCompletion({ ...hello, stream: true }));
    equal([refused.sent.length, refused.sent[0]?.headers.get("idempotency-key")], [2, null]);
    for (const outcome of ["network" as const, json({ error: { code: "upstream_error" } }, 502)]) {
      const unknown = fakeApi([outcome, sse("[DONE]")]);
      await rejection(unknown.client.createChatCompletion({ ...hello, stream: true }));
      equal(unknown.sent.length, 1);
    }
  },

  async "waits grow, vary, and follow Retry-After up to a minute"() {
    const lost = new QuotaConnectionError("lost");
    const most = [0, 1, 2, 9].map((attempt) => Math.max(...Array.from({ length: 300 }, () => waitBefore(lost, attempt, true) as number)));
    check(
      most.every((ms, index) => ms <= ([500, 1_000, 2_000, 8_000][index] as number)),
      `bounded: ${most}`,
    );
    check((most[1] as number) > 500 && (most[3] as number) > 4_000, `growing: ${most}`);
    const asked = (retryAfterMs: number | undefined) =>
      waitBefore(new RateLimitError("", { ...details, status: 429, retryAfterMs }), 0, true);
    equal([asked(3_000), asked(61_000), waitBefore(lost, 0, false)], [3_000, null, null]);
  },

  async "a stream is read chunk by chunk, however its bytes are cut"() {
    const text =
      ': hello\n\ndata: {"choices":[{"delta":{"content":"Grüße "}}]}\r\n\r\ndata:{"choices":[{"delta":{"content":"🦊"},"finish_reason":"stop"}],"quota":{"credits_used":4}}\n\ndata: [DONE]\n\n';
    const bytes = new TextEncoder().encode(text);
    for (const size of [1, 2, 3, 7, 50, bytes.length]) {
      const parts = Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) => bytes.slice(index * size, (index + 1) * size));
      const api = fakeApi([streaming(parts, { "x-quota-max-tokens": "64", "x-request-id": "req_2" })]);
      const stream = await api.client.createChatCompletion({ ...hello, stream: true });
      let seen = "";
      for await (const chunk of stream) seen += chunk.choices[0]?.delta.content ?? "";
      equal([seen, stream.quota?.credits_used, stream.maxTokens, stream.requestId], ["Grüße 🦊", 4, 64, "req_2"]);
    }
  },

  async "leaving the loop ends the request"() {
    for (const way of ["break", "cancel", "text"] as const) {
      const api = fakeApi([endless()]);
      const stream = await api.client.createChatCompletion({ ...hello, stream: true });
      if (way === "cancel") stream.cancel();
      else if (way === "break") for await (const _ of stream) break;
      else {
        const reader = stream.toTextStream().getReader();
        equal(new TextDecoder().decode((await reader.read()).value), "on and ");
        await reader.cancel();
      }
      check(api.sent[0]?.signal.aborted === true, `${way} ends the request`);
    }
  },

  async "a stream that breaks off, or brings an error, throws"() {
    const broken = fakeApi([sse('{"choices":[{"delta":{"content":"half"}}]}')]);
    check((await rejection(read(broken.client))) instanceof QuotaConnectionError, "broken off");
    const failed = fakeApi([sse('{"error":{"code":"rate_limit","message":"Slow down.","type":"api_error","param":null}}')]);
    const thrown = await rejection(read(failed.client));
    check(thrown instanceof RateLimitError && thrown.message === "Slow down.", "the provider's error");
  },

  async "the caller's signal ends a request with its own reason, also while waiting to try again"() {
    const reason = new Error("enough");
    const controller = new AbortController();
    const hanging = fakeApi(["hang"]);
    const pending = rejection(hanging.client.getBalance({ signal: controller.signal }));
    controller.abort(reason);
    check((await pending) === reason, "its reason");
    const waiting = new AbortController();
    const api = fakeApi([json({ error: { code: "rate_limit" } }, 429, { "retry-after": "50" })]);
    const paused = rejection(api.client.getBalance({ signal: waiting.signal }));
    await api.answered;
    waiting.abort(reason);
    check((await paused) === reason, "while it waits");
    equal((await rejection(fakeApi([]).client.getBalance({ signal: waiting.signal }))) === reason, true);
  },

  async "no answer in time is a QuotaTimeoutError, in the middle of a stream too"() {
    const hanging = fakeApi(["hang"], { timeoutMs: 5, maxRetries: 0 });
    check((await rejection(hanging.client.getBalance())) instanceof QuotaTimeoutError, "before an answer");
    const stuck = fakeApi([endless()], { timeoutMs: 5 });
    check((await rejection(read(stuck.client))) instanceof QuotaTimeoutError, "between two chunks");
  },

  async "an access token is renewed once for all who need it, and stored before it is used"() {
    const order: string[] = [];
    const tokens: TokenSet[] = [];
    const api = fakeApi(
      (sent) => {
        if (sent.url.endsWith("/oauth/token")) {
          order.push("renewed");
          return json({ access_token: "new", refresh_token: "r2", expires_in: 3600, scope: "credits.read" });
        }
        const token = sent.headers.get("authorization");
        order.push(String(token));
        return token === "Bearer new" ? json({ balance: 1 }) : json({ error: { code: "invalid_api_key" } }, 401);
      },
      {
        apiKey: undefined,
        accessToken: "old",
        refreshToken: "r1",
        clientId: "quota_client_x",
        clientSecret: "quota_secret_y",
        onTokens: async (renewed) => {
          await Promise.resolve();
          order.push("stored");
          tokens.push(renewed);
        },
      },
    );
    await Promise.all([api.client.getBalance(), api.client.getBalance(), api.client.getBalance()]);
    equal(order, ["Bearer old", "Bearer old", "Bearer old", "renewed", "stored", "Bearer new", "Bearer new", "Bearer new"]);
    equal([tokens[0]?.accessToken, tokens[0]?.refreshToken, tokens.length], ["new", "r2", 1]);
    const form = api.sent.find(({ url }) => url.endsWith("/oauth/token"));
    equal(form?.body, "grant_type=refresh_token&refresh_token=r1");
    equal(form?.headers.get("authorization"), `Basic ${btoa("quota_client_x:quota_secret_y")}`);
  },

  async "tokens that could not be stored are used all the same: the old refresh token is used up"() {
    const reason = new Error("the disk is full");
    const api = fakeApi(
      [json({ access_token: "new", refresh_token: "r2", expires_in: 3600 }), json({ balance: 1 }), json({ balance: 2 })],
      {
        apiKey: undefined,
        accessToken: "old",
        refreshToken: "r1",
        clientId: "quota_client_x",
        expiresAt: Date.now() + 1_000,
        onTokens: async () => {
          throw reason;
        },
      },
    );
    check((await rejection(api.client.getBalance())) === reason, "its error");
    equal((await api.client.getBalance()).balance, 1);
    equal(
      api.sent.map(({ url, headers }) => [url.slice(18), headers.get("authorization")]),
      [
        ["/oauth/token", null],
        ["/v1/balance", "Bearer new"],
      ],
    );
  },

  async "a rotation is not sent again when nobody knows what became of it; any other change is"() {
    const lost = fakeApi(["network", json({})]);
    check((await rejection(lost.client.updateWebhook("whk_1", { rotate_secret: true }))) instanceof QuotaConnectionError, "lost");
    equal(lost.sent.length, 1);
    const refused = fakeApi([json({}, 429, { "retry-after": "0" }), json({ secret: "whsec_" })]);
    equal((await refused.client.updateWebhook("whk_1", { rotate_secret: true })).secret, "whsec_");
    const broken = fakeApi([json({}, 500, { "retry-after": "0" }), json({ enabled: true })]);
    equal((await broken.client.updateWebhook("whk_1", { enabled: true })).enabled, true);
  },

  async "a token about to end is renewed before it is used, and one that cannot be renewed is 401"() {
    const api = fakeApi([json({ access_token: "new", expires_in: 3600 }), json({ balance: 1 })], {
      apiKey: undefined,
      accessToken: "old",
      refreshToken: "r1",
      clientId: "quota_client_x",
      expiresAt: Date.now() + 1_000,
    });
    await api.client.getBalance();
    equal(
      api.sent.map(({ url, headers }) => [url.slice(18), headers.get("authorization")]),
      [
        ["/oauth/token", null],
        ["/v1/balance", "Bearer new"],
      ],
    );
    equal(new URLSearchParams(api.sent[0]?.body).get("client_id"), "quota_client_x");
    const dead = fakeApi([json({ error: { code: "invalid_api_key" } }, 401)], { apiKey: undefined, accessToken: "old" });
    check((await rejection(dead.client.getBalance())) instanceof AuthenticationError, "401");
  },

  async "a code is exchanged for a stored link or for tokens, once"() {
    const answer = { storage_mode: "hosted", external_user_id: "u", scope: "s", user: { id: "i", email: "e" }, linked_at: "t" };
    const options = { apiKey: undefined, clientId: "quota_client_x", clientSecret: "quota_secret_y" };
    const exchange = { code: "c", codeVerifier: "v", redirectUri: "https://app.test/cb" };
    const hosted = fakeApi([json(answer)], options);
    equal(await hosted.client.exchangeCode({ ...exchange, storageMode: "hosted", externalUserId: "u" }), {
      storageMode: "hosted",
      externalUserId: "u",
      scope: "s",
      user: { id: "i", email: "e" },
      linkedAt: "t",
    });
    equal(Object.fromEntries(new URLSearchParams(hosted.sent[0]?.body)), {
      grant_type: "authorization_code",
      code: "c",
      code_verifier: "v",
      redirect_uri: "https://app.test/cb",
      storage_mode: "hosted",
      external_user_id: "u",
    });
    const own = fakeApi([json({ access_token: "a", refresh_token: "r", expires_in: 60, scope: "s" })], options);
    const tokens = await own.client.exchangeCode(exchange);
    equal([tokens.accessToken, tokens.refreshToken, tokens.scope], ["a", "r", "s"]);
    const lost = fakeApi(["network", json(answer)], options);
    check((await rejection(lost.client.exchangeCode(exchange))) instanceof QuotaConnectionError, "not sent again");
    const used = fakeApi([json({ error: "invalid_grant", error_description: "used" }, 400)], options);
    const thrown = await rejection(used.client.exchangeCode(exchange));
    check(thrown instanceof QuotaOAuthError && thrown.code === "invalid_grant" && thrown.message === "used", "an OAuth error");
  },

  async "the authorization link has what PKCE needs, and the challenge is the verifier's"() {
    const { codeVerifier, codeChallenge } = await createPkce();
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(codeVerifier)));
    equal(
      codeChallenge,
      btoa(String.fromCharCode(...digest))
        .replaceAll("+", "-")
        .replaceAll("/", "_")
        .replaceAll("=", ""),
    );
    const { client } = fakeApi([], { apiKey: undefined, clientId: "quota_client_x" });
    const url = new URL(client.authorizeUrl({ redirectUri: "https://app.test/cb", state: "s", codeChallenge }));
    equal([url.origin, url.pathname], ["https://quota.test", "/oauth/authorize"]);
    equal(Object.fromEntries(url.searchParams), {
      response_type: "code",
      client_id: "quota_client_x",
      redirect_uri: "https://app.test/cb",
      state: "s",
      code_challenge: codeChallenge,
      code_challenge_method: "S256",
    });
  },

  async "where the API is may be said with and without a slash or /v1"() {
    for (const baseUrl of ["https://q.test", "https://q.test/", "https://q.test/v1", "https://q.test/v1/"])
      equal(new QuotaClient({ apiKey: "k", baseUrl, allowSecretsInBrowser: true }).baseUrl, "https://q.test");
  },

  async "a webhook is accepted with the signature that is dated, and with the other one alone only where the app says so; nothing that was touched is"() {
    const secret = makeWebhookSecret();
    const event = makeEvent("usage.completed", { external_user_id: "Élodie" });
    const { body, headers } = await signWebhook(event, secret);
    equal(await constructEvent(body, new Headers(headers), secret), event);
    equal(await constructEvent(new TextEncoder().encode(body), { ...headers }, secret), event);
    const plain = { "X-Quota-Signature": headers["x-quota-signature"] };
    // A captured delivery could be stripped of the other headers and sent again at any time.
    equal(await verifyWebhookSignature(body, plain, secret), false);
    check((await rejection(constructEvent(body, plain, secret))) instanceof WebhookVerificationError, "undated");
    equal(await verifyWebhookSignature(body, plain, secret, { acceptUndated: true }), true);
    equal(await constructEvent(body, plain, secret, { acceptUndated: true }), event);
    const { "x-quota-signature": _, ...standard } = headers;
    equal(await verifyWebhookSignature(body, standard, secret), true);
    const bad: [string, Record<string, string | undefined>, string][] = [
      [`${body} `, headers, secret],
      [`${body} `, plain, secret],
      [body, headers, makeWebhookSecret()],
      [body, plain, makeWebhookSecret()],
      [body, {}, secret],
      [body, { ...headers, "webhook-id": "evt_other" }, secret],
      [body, { ...headers, "webhook-timestamp": String(Number(headers["webhook-timestamp"]) + 1) }, secret],
      [body, { ...headers, "webhook-signature": "v1,AAAA" }, secret],
      [body, { ...headers, "webhook-signature": "nonsense" }, secret],
      [body, { ...headers, "webhook-timestamp": undefined }, secret],
      [body, { "x-quota-signature": "zz" }, secret],
    ];
    for (const [text, forged, key] of bad) {
      equal(await verifyWebhookSignature(text, forged, key), false);
      equal(await verifyWebhookSignature(text, forged, key, { acceptUndated: true }), false);
      check((await rejection(constructEvent(text, forged, key))) instanceof WebhookVerificationError, "refused");
    }
  },

  async "a delivery is refused when it is older than the tolerance, and passes with two signatures of which one fits"() {
    const [secret, former] = [makeWebhookSecret(), makeWebhookSecret()];
    const event = makeEvent("user.connected");
    const old = await signWebhook(event, secret, { timestamp: new Date(Date.now() - 400_000) });
    equal(await verifyWebhookSignature(old.body, old.headers, secret), false);
    equal(await verifyWebhookSignature(old.body, old.headers, secret, { toleranceSeconds: 500 }), true);
    const future = await signWebhook(event, secret, { timestamp: new Date(Date.now() + 400_000) });
    equal(await verifyWebhookSignature(future.body, future.headers, secret), false);
    const [now, before] = [await signWebhook(event, secret), await signWebhook(event, former)];
    const both = { ...now.headers, "webhook-signature": `${before.headers["webhook-signature"]} ${now.headers["webhook-signature"]}` };
    equal(await verifyWebhookSignature(now.body, both, secret), true);
    const notAnEvent = await signWebhook("[]", secret);
    check((await rejection(constructEvent(notAnEvent.body, notAnEvent.headers, secret))) instanceof WebhookVerificationError, "no event");
  },
};

const hello = { model: "gpt-4o-mini", messages: [{ role: "user", content: "Hello!" }] };
const details = { code: "x", type: "x", param: null, hint: undefined, docsUrl: undefined, requestId: undefined };

async function read(client: QuotaClient): Promise<void> {
  for await (const _ of await client.createChatCompletion({ ...hello, stream: true }));
}

type Sent = { url: string; method: string; headers: Headers; body: string | undefined; signal: AbortSignal };
type Outcome = Response | "network" | "hang";

/** An API with these answers, one for each request, or a function of the request. */
function fakeApi(outcomes: Outcome[] | ((sent: Sent) => Outcome), options: QuotaClientOptions = {}) {
  const sent: Sent[] = [];
  let tell = () => {};
  const answered = new Promise<void>((resolve) => {
    tell = resolve;
  });
  const fetch = async (url: unknown, init: RequestInit = {}) => {
    const signal = init.signal as AbortSignal;
    const one = {
      url: String(url),
      method: init.method ?? "GET",
      headers: new Headers(init.headers),
      body: init.body as string | undefined,
      signal,
    };
    sent.push(one);
    const outcome = typeof outcomes === "function" ? outcomes(one) : outcomes.shift();
    setTimeout(tell);
    if (outcome === undefined) throw new Error("one request too many");
    if (outcome === "network") throw new TypeError("failed to fetch");
    if (outcome !== "hang") return abortable(outcome, signal);
    return new Promise<Response>((_, reject) => signal.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError"))));
  };
  const client = new QuotaClient({
    apiKey: "sk-quota-test",
    baseUrl: "https://quota.test",
    fetch: fetch as typeof globalThis.fetch,
    allowSecretsInBrowser: true,
    ...options,
  });
  return { client, sent, answered };
}

/** A body that fails when its request is aborted, as fetch does. */
function abortable(response: Response, signal: AbortSignal): Response {
  if (response.body === null) return response;
  const reader = response.body.getReader();
  const body = new ReadableStream({
    start: (controller) => signal.addEventListener("abort", () => controller.error(new DOMException("aborted", "AbortError"))),
    async pull(controller) {
      const { done, value } = await reader.read();
      if (signal.aborted) return;
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
  return new Response(body, { status: response.status, headers: response.headers });
}

function json(body: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json", ...headers } });
}

function streaming(parts: Uint8Array[], headers: Record<string, string> = {}): Response {
  const left = [...parts];
  const body = new ReadableStream({
    pull(controller) {
      const part = left.shift();
      if (part === undefined) controller.close();
      else controller.enqueue(part);
    },
  });
  return new Response(body, { headers: { "content-type": "text/event-stream", ...headers } });
}

function sse(...data: string[]): Response {
  return streaming([new TextEncoder().encode(data.map((each) => `data: ${each}\n\n`).join(""))]);
}

/** A body of one chunk that does not end. */
function endless(): Response {
  const chunk = new TextEncoder().encode('data: {"choices":[{"delta":{"content":"on and "}}]}\n\n');
  return new Response(new ReadableStream({ start: (controller) => controller.enqueue(chunk) }));
}

async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("It did not throw.");
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(`This does not hold: ${what}`);
}

function equal(actual: unknown, expected: unknown): void {
  const [a, b] = [sorted(actual), sorted(expected)];
  if (a !== b) throw new Error(`expected ${b}, and it is ${a}`);
}

/** JSON with sorted members, so that equal objects give equal texts. */
function sorted(value: unknown): string {
  return JSON.stringify(value, (_key, each: unknown) =>
    typeof each === "object" && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  );
}
