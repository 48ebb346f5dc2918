import { describe, expect, test } from "vitest";
import { countPromptTokens, countTextTokens, encodeText } from "../../pricing/tokens.ts";
import { withSimulator } from "./simulated.ts";

const { ask, openai, post } = withSimulator();

describe("text answers", () => {
  test("a completion has every field of an OpenAI completion", async () => {
    const response = await post("/chat/completions", {
      model: "any-model",
      messages: [{ role: "user", content: "What is photosynthesis?" }],
    });
    expect(response.headers.get("content-type")).toContain("application/json");
    expect(await response.json()).toEqual({
      id: expect.stringMatching(/^chatcmpl-\w{20,}$/),
      object: "chat.completion",
      created: expect.any(Number),
      model: "any-model",
      choices: [
        {
          index: 0,
          message: {
            role: "assistant",
            content: expect.stringContaining("photosynthesis"),
            refusal: null,
            annotations: [],
          },
          logprobs: null,
          finish_reason: "stop",
        },
      ],
      usage: {
        prompt_tokens: expect.any(Number),
        completion_tokens: expect.any(Number),
        total_tokens: expect.any(Number),
        prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
        completion_tokens_details: {
          reasoning_tokens: 0,
          audio_tokens: 0,
          accepted_prediction_tokens: 0,
          rejected_prediction_tokens: 0,
        },
      },
      service_tier: "default",
      system_fingerprint: expect.any(String),
    });
  });

  test("usage is the tokenizer's count of the prompt and of the text", async () => {
    const { choices, usage } = await ask("Tell me about the Ångström, please 🦄");
    expect(usage?.completion_tokens).toBe(await countTextTokens(choices[0]?.message.content ?? ""));
    expect(usage?.prompt_tokens).toBe(
      await countPromptTokens({ messages: [{ role: "user", content: "Tell me about the Ångström, please 🦄" }] }),
    );
    expect(usage?.total_tokens).toBe((usage?.prompt_tokens ?? 0) + (usage?.completion_tokens ?? 0));
  });

  test("every text answer says that it is simulated", async () => {
    for (const message of ["hello", "thanks!", "Write a poem about rain", "Why is the sky blue?", "I like tea.", ""]) {
      expect((await ask(message)).choices[0]?.message.content).toMatch(/simulator|real model|provider key/);
    }
  });

  test("a greeting is answered with a greeting", async () => {
    expect((await ask("Hello!")).choices[0]?.message.content).toMatch(/^(Hello|Hi)/);
  });

  test("the same messages and seed give the same text, other seeds other texts", async () => {
    const text = async (seed: number) => (await ask("Describe the moon", { seed })).choices[0]?.message.content;
    expect(await text(7)).toBe(await text(7));
    expect(new Set(await Promise.all([1, 2, 3, 4, 5, 6].map(text))).size).toBeGreaterThan(1);
  });

  test("the answer counts the images, sounds and files of the message", async () => {
    const completion = await openai().chat.completions.create({
      model: "gpt-4o",
      messages: [
        {
          role: "user",
          content: [
            { type: "text", text: "What is in these pictures?" },
            { type: "image_url", image_url: { url: "https://example.com/a.png" } },
            { type: "image_url", image_url: { url: "https://example.com/b.png" } },
            { type: "input_audio", input_audio: { data: "AAAA", format: "wav" } },
          ],
        },
      ],
    });
    expect(completion.choices[0]?.message.content).toContain("2 images and 1 audio clip");
  });
});

describe("limits", () => {
  test.each([1, 2, 7, 15])("max_tokens %d gives exactly that many tokens and finish_reason length", async (limit) => {
    for (const more of [{ max_tokens: limit }, { max_completion_tokens: limit }]) {
      const { choices, usage } = await ask("What is a volcano?", more);
      expect(choices[0]?.finish_reason).toBe("length");
      expect(usage?.completion_tokens).toBe(limit);
      expect(await encodeText(choices[0]?.message.content ?? "")).toHaveLength(limit);
    }
  });

  test("a limit above the answer's length changes nothing", async () => {
    const [free, limited] = await Promise.all([ask("What is a volcano?"), ask("What is a volcano?", { max_tokens: 10_000 })]);
    expect(limited.choices).toEqual(free.choices);
  });

  test.each(["the", ["zzz", "the"]])("text ends before the stop sequence %j", async (stop) => {
    const full = (await ask("What is a volcano?")).choices[0]?.message.content ?? "";
    const { choices, usage } = await ask("What is a volcano?", { stop });
    expect(choices[0]?.message.content).toBe(full.slice(0, full.indexOf("the")));
    expect(choices[0]?.finish_reason).toBe("stop");
    expect(usage?.completion_tokens).toBe(await countTextTokens(choices[0]?.message.content ?? ""));
  });

  test("n gives that many choices, and usage counts them all", async () => {
    const { choices, usage } = await ask("What is a volcano?", { n: 3 });
    expect(choices.map((choice) => choice.index)).toEqual([0, 1, 2]);
    const counts = await Promise.all(choices.map((choice) => countTextTokens(choice.message.content ?? "")));
    expect(usage?.completion_tokens).toBe(counts.reduce((sum, one) => sum + one));
  });
});

describe("JSON", () => {
  test("json_object gives a JSON object", async () => {
    const { choices } = await ask("Tell me about tea in JSON", { response_format: { type: "json_object" } });
    expect(JSON.parse(choices[0]?.message.content ?? "")).toMatchObject({ message: expect.any(String) });
  });

  test("json_schema gives a value valid for the schema", async () => {
    const schema = {
      type: "object",
      properties: {
        kind: { const: "meal" },
        dishes: { type: "array", minItems: 3, items: { $ref: "#/$defs/dish" } },
        note: { anyOf: [{ type: "string", maxLength: 5 }, { type: "null" }] },
      },
      required: ["kind", "dishes", "note"],
      additionalProperties: false,
      $defs: {
        dish: {
          type: "object",
          properties: {
            name: { type: "string" },
            grams: { type: "integer", minimum: 250, maximum: 260 },
            on: { type: "string", format: "date" },
          },
          required: ["name", "grams", "on"],
        },
      },
    };
    const { choices } = await ask("Plan a meal", {
      response_format: { type: "json_schema", json_schema: { name: "meal", strict: true, schema } },
    });
    const meal = JSON.parse(choices[0]?.message.content ?? "");
    expect(Object.keys(meal).sort()).toEqual(["dishes", "kind", "note"]);
    expect(meal.kind).toBe("meal");
    expect(meal.dishes.length).toBeGreaterThanOrEqual(3);
    for (const dish of meal.dishes) {
      expect(dish.grams).toBeGreaterThanOrEqual(250);
      expect(dish.grams).toBeLessThanOrEqual(260);
      expect(dish.on).toMatch(/^\d{4}-\d\d-\d\d$/);
      expect(typeof dish.name).toBe("string");
    }
    expect(meal.note === null || meal.note.length <= 5).toBe(true);
  });

  test("a schema that no value fits is refused with its param", async () => {
    const schema = { type: "object", properties: { a: { $ref: "#/$defs/none" } }, required: ["a"] };
    const error = await ask("hi", {
      response_format: { type: "json_schema", json_schema: { name: "x", schema } },
    }).catch((one) => one);
    expect(error).toMatchObject({ status: 400, param: "response_format", code: "invalid_json_schema" });
  });
});

test("logprobs has one entry per token, with the number of alternatives that the request asks for", async () => {
  const { choices, usage } = await ask("Tell me about 🦄🦄 unicorns", { logprobs: true, top_logprobs: 3 });
  const content = choices[0]?.logprobs?.content ?? [];
  expect(content).toHaveLength(usage?.completion_tokens ?? 0);
  expect(Buffer.from(content.flatMap((one) => one.bytes ?? [])).toString()).toBe(choices[0]?.message.content);
  for (const one of content) {
    expect(one.logprob).toBeLessThanOrEqual(0);
    expect(one.top_logprobs).toHaveLength(3);
    expect(one.top_logprobs[0]).toMatchObject({ token: one.token, logprob: one.logprob });
  }
});

test("log probabilities above the limit of a request are refused, and up to it are answered", async () => {
  const asked = { logprobs: true, top_logprobs: 20, max_tokens: 4_096 };
  expect(await ask("simulate: long 3000", asked).catch((error) => error)).toMatchObject({ status: 400, param: "top_logprobs" });
  expect(await ask("simulate: long 1500", { ...asked, n: 2 }).catch((error) => error)).toMatchObject({ status: 400 });
  const { choices } = await ask("simulate: long 2000", asked);
  expect(choices[0]?.logprobs?.content).toHaveLength(2_000);
});
