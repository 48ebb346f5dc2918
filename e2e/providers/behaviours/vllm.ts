import { type Behaviour, json } from "../../../src/testing/upstream-answers.ts";
import { type Provider, unknownLimits } from "../provider.ts";

/** vLLM: https://docs.vllm.ai/en/latest/serving/openai_compatible_server/ */
export const vllm: Provider = {
  id: "vllm",
  model: "own-vllm",
  /** Versions before 0.6.4 refuse `max_completion_tokens`: https://github.com/voideditor/void/issues/128 */
  refusal(request) {
    const [name] = unknownLimits(request, ["max_tokens"]);
    if (name === undefined) return null;
    const message = `[{'type': 'extra_forbidden', 'loc': ('body', '${name}'), 'msg': 'Extra inputs are not permitted', 'input': ${request.body[name]}}]`;
    return json({ object: "error", message, type: "BadRequestError", param: null, code: 400 }, { status: 400 });
  },
};

/** The error of FastAPI, which vLLM is built on, for a body that does not fit its schema: https://fastapi.tiangolo.com/tutorial/handling-errors/ */
export function vllmInvalid(member: string, msg: string): Behaviour {
  return json({ detail: [{ type: "missing", loc: ["body", member], msg, input: {} }] }, { status: 422 });
}
