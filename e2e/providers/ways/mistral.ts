import { json } from "../../../src/testing/fake-upstream.ts";
import { type Provider, unknownLimits } from "../far-end.ts";

/** Mistral: https://docs.mistral.ai/api/endpoint/chat */
export const mistral: Provider = {
  id: "mistral",
  model: "mistral-large-2512",
  /** Members that it does not know are refused, with a list where others have a text: https://github.com/editor-code-assistant/eca/issues/231 */
  refusal(request) {
    const detail = unknownLimits(request, ["max_tokens"]).map((name) => ({
      type: "extra_forbidden",
      loc: ["body", name],
      msg: "Extra inputs are not permitted",
      input: request.body[name],
    }));
    if (detail.length === 0) return null;
    return json({ object: "error", message: { detail }, type: "invalid_request_error", param: null, code: null }, { status: 422 });
  },
};
