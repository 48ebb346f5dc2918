import { publicUrl } from "#env";
import { AppError } from "../platform/errors.ts";

/** What a path ends with that a client of a provider asks for. */
const ASKED = "(?:chat/completions|completions|messages|messages/count_tokens|responses|responses/input_tokens|embeddings|models)";
const OUTSIDE = new RegExp(`^(?:/openai/v1(?:/|$)|(?:/api)?(?:/openai|/anthropic)?/${ASKED}(?:[/?]|$)|/api/v1/${ASKED}(?:[/?]|$))`);
const TWICE = new RegExp(`^/v1/(?:openai/|api/)?v1/${ASKED}(?:/|$)`);

/** Whether a request outside /v1 comes from a client whose base URL is wrong. No page has such a path. */
export function isMeantForApi(url: string): boolean {
  return OUTSIDE.test(url);
}

/** A path that nothing is at. Says which base URL is right, where a wrong one is likely the cause. */
export function nothingAt(method: string, path: string): AppError {
  const base = `${publicUrl()}/v1`;
  const message = `There is nothing at ${method} ${path.slice(0, 200)}.`;
  if (/^\/openai\/v1(?:\/|$)/.test(path))
    // groq-sdk puts this path behind every base URL that it is given.
    return new AppError("not_found", {
      message,
      hint: `The base URL of this API is ${base}. groq-sdk adds /openai/v1 to it; use the openai package.`,
    });
  if (TWICE.test(path))
    return new AppError("not_found", {
      message,
      hint: `The base URL has /v1 too often: Anthropic's clients take ${publicUrl()}, OpenAI's ${base}.`,
    });
  if (isMeantForApi(path))
    return new AppError("not_found", { message, hint: `The base URL of this API is ${base}; Anthropic's clients take ${publicUrl()}.` });
  return new AppError("not_found", { message, hint: `${publicUrl()}/docs/api lists what there is.` });
}
