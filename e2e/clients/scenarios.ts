import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { ChatAnthropic } from "@langchain/anthropic";
import { HumanMessage } from "@langchain/core/messages";
import { tool as langchainTool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { Agent, tool as agentTool, OpenAIProvider, Runner } from "@openai/agents";
import { generateText, type LanguageModel, Output, stepCountIs, streamText, tool } from "ai";
import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

/**
 * The scenarios of each client: an answer as JSON and as a stream, a tool call whose result the client sends back, an
 * answer by a schema, and an error that the client reports. Clients have their default settings, apart from retries. The
 * simulator answers; its models reason and repeat the result of a tool.
 */

export type Target = { url: string; key: string };
export type Scenario = (target: Target) => Promise<void>;
export type Client = { name: string; package: string; scenarios: Record<string, Scenario> };

const REASONING = "gpt-5-mini";
const CLAUDE = "claude-haiku-4-5";
const GREETING = "Hello!";
const QUESTION = "What is the weather in Oslo?";
const cityShape = z.object({ city: z.string() });
const weather = ({ city }: { city: string }) => `sleet over ${city}`;
const TOOL_RESULT = /sleet over/;
const UNKNOWN = "no-such-model";

// The AI SDK's warnings on stderr concern its own options, not the server under test.
Object.assign(globalThis, { AI_SDK_LOG_WARNINGS: false });

function openai({ url, key }: Target): OpenAI {
  return new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
}

function anthropic({ url, key }: Target): Anthropic {
  return new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
}

async function failsWith(work: PromiseLike<unknown>, status: number, message: RegExp): Promise<void> {
  const error = await Promise.resolve(work).then(
    () => assert.fail("it succeeded"),
    (reason: unknown) => reason as { status?: number; statusCode?: number; message: string },
  );
  assert.equal(error.status ?? error.statusCode, status);
  assert.match(error.message, message);
}

const chatFunction = {
  type: "function" as const,
  function: { name: "get_weather", description: "The weather", parameters: z.toJSONSchema(cityShape) as Record<string, unknown> },
};

const openaiChat: Client = {
  name: "openai, chat completions",
  package: "openai",
  scenarios: {
    async json(target) {
      const answer = await openai(target).chat.completions.create({ model: REASONING, messages: [{ role: "user", content: GREETING }] });
      assert.ok(answer.choices[0]?.message.content);
      assert.ok((answer.usage?.completion_tokens_details?.reasoning_tokens ?? 0) > 0);
    },
    async stream(target) {
      const stream = openai(target).chat.completions.stream({ model: REASONING, messages: [{ role: "user", content: GREETING }] });
      assert.ok(await stream.finalContent());
    },
    async tools(target) {
      const runner = openai(target).chat.completions.runTools({
        model: REASONING,
        messages: [{ role: "user", content: QUESTION }],
        tools: [
          {
            type: "function",
            function: { ...chatFunction.function, parse: (text: string) => cityShape.parse(JSON.parse(text)), function: weather },
          },
        ],
      });
      assert.match((await runner.finalContent()) ?? "", TOOL_RESULT);
    },
    async structured(target) {
      const answer = await openai(target).chat.completions.parse({
        model: REASONING,
        messages: [{ role: "user", content: "A city" }],
        response_format: zodResponseFormat(cityShape, "city"),
      });
      assert.ok(answer.choices[0]?.message.parsed?.city);
    },
    async error(target) {
      await failsWith(
        openai(target).chat.completions.create({ model: UNKNOWN, messages: [{ role: "user", content: "x" }] }),
        404,
        /no model/i,
      );
    },
  },
};

const openaiResponses: Client = {
  name: "openai, responses",
  package: "openai",
  scenarios: {
    async json(target) {
      const answer = await openai(target).responses.create({ model: REASONING, input: GREETING });
      assert.ok(answer.output_text);
      assert.equal(answer.output[0]?.type, "reasoning");
    },
    async stream(target) {
      const answer = await openai(target).responses.stream({ model: REASONING, input: GREETING }).finalResponse();
      assert.ok(answer.output_text);
    },
    async tools(target) {
      const { name, description, parameters } = chatFunction.function;
      const tools = [{ type: "function" as const, name, description, parameters, strict: true }];
      const input: OpenAI.Responses.ResponseInput = [{ role: "user", content: QUESTION }];
      const first = await openai(target).responses.create({ model: REASONING, input, tools });
      input.push(...(first.output as OpenAI.Responses.ResponseInput));
      for (const item of first.output)
        if (item.type === "function_call")
          input.push({ type: "function_call_output", call_id: item.call_id, output: weather(cityShape.parse(JSON.parse(item.arguments))) });
      assert.match((await openai(target).responses.create({ model: REASONING, input, tools })).output_text, TOOL_RESULT);
    },
    async structured(target) {
      const format = { format: zodTextFormat(cityShape, "city") };
      assert.ok((await openai(target).responses.parse({ model: REASONING, input: "A city", text: format })).output_parsed?.city);
    },
    async error(target) {
      await failsWith(openai(target).responses.create({ model: UNKNOWN, input: "x" }), 404, /no model/i);
    },
  },
};

const message = (content: string) => ({ model: CLAUDE, max_tokens: 4_096, messages: [{ role: "user" as const, content }] });

const anthropicMessages: Client = {
  name: "@anthropic-ai/sdk",
  package: "@anthropic-ai/sdk",
  scenarios: {
    async json(target) {
      const answer = await anthropic(target).messages.create(message(GREETING));
      assert.equal(answer.content.at(-1)?.type, "text");
      assert.match(answer._request_id ?? "", /^req_/);
    },
    async stream(target) {
      const asked = { ...message(GREETING), thinking: { type: "enabled" as const, budget_tokens: 1_024 } };
      const answer = await anthropic(target).messages.stream(asked).finalMessage();
      assert.deepEqual(
        answer.content.map(({ type }) => type),
        ["thinking", "text"],
      );
    },
    async tools(target) {
      const getWeather = betaZodTool({
        name: "get_weather",
        description: "The weather",
        inputSchema: cityShape,
        run: async (input) => weather(input),
      });
      const thinking = { type: "enabled" as const, budget_tokens: 1_024 };
      for (const stream of [false, true] as const) {
        const runner = anthropic(target).beta.messages.toolRunner({ ...message(QUESTION), tools: [getWeather], thinking, stream });
        const last = await runner.runUntilDone();
        const text = last.content.find((block) => block.type === "text");
        assert.match(text?.type === "text" ? text.text : "", TOOL_RESULT);
      }
    },
    async structured(target) {
      const answer = await anthropic(target).messages.parse({
        ...message("A city"),
        output_config: { format: zodOutputFormat(cityShape) },
      });
      assert.ok(answer.parsed_output?.city);
    },
    async error(target) {
      await failsWith(anthropic(target).messages.create({ ...message("x"), model: UNKNOWN }), 404, /no model/i);
    },
  },
};

const weatherTool = tool({ description: "The weather", inputSchema: cityShape, execute: async (input) => weather(input) });

/** The AI SDK with one of its providers. `model` creates a model by its id; `providerOptions` are those of the recipe. */
function aiSdk(
  provider: string,
  id: string,
  model: (target: Target, id: string) => LanguageModel,
  providerOptions: Record<string, Record<string, boolean>> = {},
): Client {
  const streamed = async (options: Parameters<typeof streamText>[0]) => {
    let text = "";
    for await (const part of streamText({ maxRetries: 0, onError() {}, ...options }).fullStream) {
      if (part.type === "error") throw part.error;
      if (part.type === "text-delta") text += part.text;
    }
    return text;
  };
  const tools = { get_weather: weatherTool };
  const stopWhen = stepCountIs(3);
  return {
    name: `ai, ${provider}`,
    package: provider,
    scenarios: {
      async json(target) {
        assert.ok((await generateText({ model: model(target, id), prompt: GREETING, maxRetries: 0, providerOptions })).text);
      },
      async stream(target) {
        assert.ok(await streamed({ model: model(target, id), prompt: GREETING, providerOptions }));
      },
      async tools(target) {
        const asked = { model: model(target, id), prompt: QUESTION, tools, stopWhen, providerOptions };
        const answer = await generateText({ ...asked, maxRetries: 0 });
        assert.equal(answer.steps.length, 2);
        assert.match(answer.text, TOOL_RESULT);
        assert.match(await streamed(asked), TOOL_RESULT);
      },
      async structured(target) {
        const output = Output.object({ schema: cityShape });
        const answer = await generateText({ model: model(target, id), prompt: "A city", output, maxRetries: 0, providerOptions });
        assert.ok(answer.output.city);
      },
      async error(target) {
        await failsWith(generateText({ model: model(target, UNKNOWN), prompt: "x", maxRetries: 0, providerOptions }), 404, /no model/i);
      },
    },
  };
}

const openaiProvider = ({ url, key }: Target) => createOpenAI({ baseURL: `${url}/v1`, apiKey: key });

function langchain(name: string, pkg: string, model: (target: Target, id?: string) => ChatOpenAI | ChatAnthropic): Client {
  const getWeather = langchainTool(async (input: { city: string }) => weather(input), {
    name: "get_weather",
    description: "The weather",
    schema: cityShape,
  });
  return {
    name,
    package: pkg,
    scenarios: {
      async json(target) {
        assert.ok((await model(target).invoke(GREETING)).text);
      },
      async stream(target) {
        let text = "";
        for await (const chunk of await model(target).stream(GREETING)) text += chunk.text;
        assert.ok(text);
      },
      async tools(target) {
        const bound = model(target).bindTools([getWeather]);
        const first = await bound.invoke([new HumanMessage(QUESTION)]);
        const results = await Promise.all((first.tool_calls ?? []).map((call) => getWeather.invoke({ ...call, type: "tool_call" })));
        assert.equal(results.length, 1);
        assert.match((await bound.invoke([new HumanMessage(QUESTION), first, ...results])).text, TOOL_RESULT);
      },
      async structured(target) {
        assert.ok((await model(target).withStructuredOutput(cityShape).invoke("A city")).city);
      },
      async error(target) {
        await failsWith(model(target, UNKNOWN).invoke("x"), 404, /no model/i);
      },
    },
  };
}

const langchainOpenaiModel =
  (useResponsesApi: boolean) =>
  ({ url, key }: Target, model = REASONING) =>
    new ChatOpenAI({ model, apiKey: key, useResponsesApi, maxRetries: 0, configuration: { baseURL: `${url}/v1` } });

function agents(useResponses: boolean): Client {
  const runner = ({ url, key }: Target) =>
    new Runner({ modelProvider: new OpenAIProvider({ apiKey: key, baseURL: `${url}/v1`, useResponses }), tracingDisabled: true });
  const getWeather = agentTool({
    name: "get_weather",
    description: "The weather",
    parameters: cityShape,
    execute: async (input) => weather(input),
  });
  const helper = new Agent({ name: "Helper", instructions: "Help.", model: REASONING, tools: [getWeather] });
  return {
    name: `@openai/agents, ${useResponses ? "responses" : "chat completions"}`,
    package: "@openai/agents",
    scenarios: {
      async json(target) {
        assert.ok((await runner(target).run(helper, GREETING)).finalOutput);
      },
      async stream(target) {
        const stream = await runner(target).run(helper, QUESTION, { stream: true });
        for await (const _ of stream);
        assert.match(String(stream.finalOutput), TOOL_RESULT);
      },
      async tools(target) {
        assert.match(String((await runner(target).run(helper, QUESTION)).finalOutput), TOOL_RESULT);
      },
      async structured(target) {
        const namer = new Agent({ name: "Namer", model: REASONING, outputType: cityShape });
        assert.ok((await runner(target).run(namer, "A city")).finalOutput?.city);
      },
      async error(target) {
        await failsWith(runner(target).run(new Agent({ name: "Lost", model: UNKNOWN }), "x"), 404, /no model/i);
      },
    },
  };
}

export const clients: readonly Client[] = [
  openaiChat,
  openaiResponses,
  anthropicMessages,
  // By default this provider refers to items that the API stored, and Quota stores none. With `store: false` it sends the items.
  aiSdk("@ai-sdk/openai", REASONING, (target, id) => openaiProvider(target)(id), { openai: { store: false } }),
  aiSdk("@ai-sdk/anthropic", CLAUDE, ({ url, key }, id) => createAnthropic({ baseURL: `${url}/v1`, apiKey: key })(id)),
  aiSdk("@ai-sdk/openai-compatible", REASONING, ({ url, key }, id) =>
    createOpenAICompatible({ name: "quota", baseURL: `${url}/v1`, apiKey: key, includeUsage: true, supportsStructuredOutputs: true })(id),
  ),
  langchain("@langchain/openai, chat completions", "@langchain/openai", langchainOpenaiModel(false)),
  langchain("@langchain/openai, responses", "@langchain/openai", langchainOpenaiModel(true)),
  langchain(
    "@langchain/anthropic",
    "@langchain/anthropic",
    ({ url, key }, model = CLAUDE) => new ChatAnthropic({ model, apiKey: key, anthropicApiUrl: url, maxRetries: 0 }),
  ),
  agents(true),
  agents(false),
];
