import type { z } from "zod";
import { countPrompt } from "../gateway/count-prompt.ts";
import type { Dialect } from "../gateway/dialects/dialect.ts";
import type { ErrorCode } from "../platform/errors.ts";
import { readBody } from "./body.ts";
import { authenticate, authenticateToken, readCredential, readExternalUserId } from "./credentials.ts";
import { checkToken, type Door, door } from "./endpoint.ts";
import { parseFairly } from "./fair-queue.ts";
import { countRequest } from "./rate-limit.ts";

/** A door that counts the tokens of a prompt, free of charge. It accepts the credentials that a completion accepts. */
export function countDoor(declared: {
  path: string;
  summary: string;
  description: string;
  dialect: Dialect;
  body: z.ZodType;
  response: z.ZodType;
  /** Members of the answer besides `input_tokens`. */
  members?: Record<string, string>;
}): Door {
  const { dialect, members, ...operation } = declared;
  return door(
    { ...operation, method: "POST", forUser: true, tokenScope: "credits.spend", errors: ERRORS },
    async (incoming, { headers }) => {
      const credential = readCredential(incoming);
      const { hash, byToken } = credential;
      await countRequest(credential, incoming.header("x-quota-user"), headers);
      const { appId, billingMode } = byToken
        ? { ...checkToken({ tokenScope: "credits.spend" }, await authenticateToken(hash)), billingMode: "user" as const }
        : await authenticate(hash);
      readExternalUserId(incoming, byToken);
      const queueKey = hash.toString("base64");
      const text = await readBody(incoming, queueKey);
      const request = await parseFairly(queueKey, text, () => dialect.read(text, (name) => incoming.header(name)));
      const input_tokens = await countPrompt(dialect, request, { appId, billingMode, signal: incoming.signal });
      return {
        status: 200,
        headers: { ...headers, "content-type": "application/json; charset=utf-8" },
        body: JSON.stringify({ ...members, input_tokens }),
      };
    },
  );
}

const ERRORS: readonly ErrorCode[] = [
  "bad_request",
  "invalid_api_key",
  "insufficient_scope",
  "not_found",
  "model_not_found",
  "request_too_large",
  "rate_limit_exceeded",
  "internal_error",
  "provider_unavailable",
  "overloaded",
];
