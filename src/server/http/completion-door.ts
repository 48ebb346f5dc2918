import type { z } from "zod";
import { complete } from "../gateway/complete.ts";
import type { CompletionRequest, Dialect } from "../gateway/dialects/dialect.ts";
import type { Answer, Purchase } from "../gateway/purchase.ts";
import type { ErrorCode } from "../platform/errors.ts";
import { isCompressed, readBody } from "./body.ts";
import { authenticate, authenticateToken, readCredential, readExternalUserId } from "./credentials.ts";
import { checkToken, type Door, door } from "./endpoint.ts";
import { parseFairly } from "./fair-queue.ts";
import { claim } from "./idempotency.ts";
import { countRequest } from "./rate-limit.ts";

/**
 * A door of the gateway. Unlike `endpoint` it does not authenticate first: the ledger's hold does that in the same
 * statement, which saves a round trip. A request that fails before the hold is authenticated before its error is
 * answered, so that a wrong credential is always 401.
 */
export function completionDoor(declared: {
  path: string;
  summary: string;
  description: string;
  dialect: Dialect;
  body: z.ZodType;
  response: z.ZodType;
  streams?: string;
  headers?: Record<string, string>;
}): Door {
  const { dialect, ...operation } = declared;
  return door(
    { ...operation, method: "POST", idempotency: "optional", forUser: true, tokenScope: "credits.spend", errors: ERRORS },
    async (incoming, { id, headers }) => {
      const credential = readCredential(incoming);
      const { hash, byToken } = credential;
      await countRequest(credential, incoming.header("x-quota-user"), headers);
      const caller = () => (byToken ? authenticateToken(hash) : authenticate(hash));
      const queueKey = hash.toString("base64");
      let externalUserId: string | null;
      let text: string;
      let completion: CompletionRequest;
      try {
        externalUserId = readExternalUserId(incoming, byToken);
        // The server authenticates a client before it buffers a large body of the client's.
        if (isCompressed(incoming) || !(Number(incoming.header("content-length") ?? Number.NaN) <= MOST_UNAUTHENTICATED_BYTES))
          await caller();
        text = await readBody(incoming, queueKey);
        completion = await parseFairly(queueKey, text, () => dialect.read(text, (name) => incoming.header(name)));
      } catch (error) {
        await caller();
        throw error;
      }
      const purchase = {
        id,
        credentialHash: hash,
        byToken,
        externalUserId,
        endpoint: declared.path,
        dialect,
        request: completion,
        signal: incoming.signal,
      };
      const reply = (answer: Answer) => ({ status: 200, headers: { ...headers, ...answer.headers }, body: answer.body });
      const key = completion.stream ? null : incoming.header("idempotency-key");
      if (key === null) return reply(await complete(purchase));
      // A replayed answer comes from the idempotency record, so the ledger does not authenticate it.
      const claimant = byToken ? checkToken({ tokenScope: "credits.spend" }, await authenticateToken(hash)) : await authenticate(hash);
      const claimed = await claim(claimant, key, { method: "POST", path: declared.path, externalUserId, body: text }, headers);
      if (claimed.kind === "replay") return claimed.reply;
      const { idempotency } = claimed;
      try {
        const remember: Purchase["remember"] = (tx, { body, headers: own }) =>
          idempotency.remember(tx, { status: 200, headers: own, body });
        return reply(await complete({ ...purchase, remember }));
      } catch (error) {
        await idempotency.forget();
        throw error;
      } finally {
        idempotency.end();
      }
    },
  );
}

const MOST_UNAUTHENTICATED_BYTES = 64 * 1024;

const ERRORS: readonly ErrorCode[] = [
  "bad_request",
  "user_required",
  "invalid_api_key",
  "insufficient_credits",
  "spending_limit_reached",
  "insufficient_scope",
  "model_not_allowed",
  "not_found",
  "model_not_found",
  "idempotency_conflict",
  "request_too_large",
  "credits_on_hold",
  "rate_limit_exceeded",
  "rate_limit",
  "internal_error",
  "upstream_error",
  "provider_unavailable",
  "overloaded",
  "gateway_timeout",
];
