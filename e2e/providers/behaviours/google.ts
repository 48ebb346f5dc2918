import { type Behaviour, json } from "../../../src/testing/upstream-answers.ts";
import type { Provider } from "../provider.ts";

/** Google Gemini, at its OpenAI-compatible endpoint: https://ai.google.dev/gemini-api/docs/openai */
export const google: Provider = {
  id: "google",
  model: "gemini-2.5-flash",
  refusal: ({ body }) =>
    "max_tokens" in body && "max_completion_tokens" in body
      ? googleError(400, "max_tokens and max_completion_tokens cannot both be set", "INVALID_ARGUMENT")
      : null,
};

/** The error envelope is the only item of an array: https://github.com/p32929/rotato/issues/22 */
export function googleError(code: number, message: string, status: string, details?: object[]): Behaviour {
  return json([{ error: { code, message, status, ...(details === undefined ? {} : { details }) } }], { status: code });
}
