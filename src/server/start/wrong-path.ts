import { publicUrl } from "#env";
import { AppError } from "../platform/errors.ts";

/** Paths that clients of providers append to their base URL. */
const API_PATH = "(?:chat/completions|completions|messages|messages/count_tokens|responses|responses/input_tokens|embeddings|models)";
const OUTSIDE_V1 = new RegExp(
  `^(?:/openai/v1(?:/|$)|(?:/api)?(?:/openai|/anthropic)?/${API_PATH}(?:[/?]|$)|/api/v1/${API_PATH}(?:[/?]|$))`,
);
const DOUBLE_PREFIX = new RegExp(`^/v1/(?:openai/|api/)?v1/${API_PATH}(?:/|$)`);

/** Whether a URL outside /v1 comes from a client with a wrong base URL. No page and no route of /api has such a path. */
export function hasWrongBaseUrl(url: string): boolean {
  return OUTSIDE_V1.test(url);
}

/** The 404 for a path without a door. Its hint names the right base URL when the path looks like one below a wrong base URL. */
export function unknownPath(method: string, path: string): AppError {
  const base = `${publicUrl()}/v1`;
  const message = `There is nothing at ${method} ${path.slice(0, 200)}.`;
  if (/^\/openai\/v1(?:\/|$)/.test(path))
    // groq-sdk appends /openai/v1 to every base URL, so no base URL works with it.
    return new AppError("not_found", {
      message,
      hint: `The base URL of this API is ${base}. groq-sdk adds /openai/v1 to it; use the openai package.`,
    });
  if (DOUBLE_PREFIX.test(path))
    return new AppError("not_found", {
      message,
      hint: `The base URL has /v1 too often: Anthropic's clients take ${publicUrl()}, OpenAI's ${base}.`,
    });
  if (hasWrongBaseUrl(path))
    return new AppError("not_found", { message, hint: `The base URL of this API is ${base}; Anthropic's clients take ${publicUrl()}.` });
  return new AppError("not_found", { message, hint: `${publicUrl()}/docs/api lists what there is.` });
}
