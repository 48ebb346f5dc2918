import { describe, expect, test } from "vitest";
import { encodeText } from "../../pricing/tokens.ts";
import { withSimulator } from "./simulated.ts";

const { openai, post } = withSimulator();

describe("embeddings", () => {
  const embed = async (input: string, dimensions?: number) => {
    const { data } = await openai().embeddings.create({ model: "text-embedding-3-small", input, dimensions });
    return data[0]?.embedding ?? [];
  };
  const dot = (a: number[], b: number[]) => a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);

  test("vectors have length 1 and the dimensions that the request asks for, and are the same for the same text", async () => {
    const [tea, again, small] = [await embed("green tea"), await embed("green tea"), await embed("green tea", 64)];
    expect(tea).toHaveLength(1536);
    expect(again).toEqual(tea);
    expect(small).toHaveLength(64);
    for (const vector of [tea, small]) expect(dot(vector, vector)).toBeCloseTo(1, 4);
  });

  test("texts that share words have more similar vectors than others", async () => {
    const [tea, near, far] = [await embed("a cup of green tea"), await embed("green tea in a pot"), await embed("stock prices fell")];
    expect(dot(tea, near)).toBeGreaterThan(dot(tea, far) + 0.2);
  });

  interface Embeddings {
    data: { embedding: unknown }[];
  }
  const postEmbeddings = async (body: object) => (await (await post("/embeddings", body)).json()) as Embeddings;

  test("float and base64 hold the same numbers, and usage counts the tokens", async () => {
    const body = { model: "m", input: ["hello world", "hello"], dimensions: 8 };
    const floats = await postEmbeddings(body);
    const coded = await postEmbeddings({ ...body, encoding_format: "base64" });
    const bytes = Buffer.from(String(coded.data[1]?.embedding), "base64");
    expect(floats.data[1]?.embedding).toEqual(Array.from({ length: 8 }, (_, index) => bytes.readFloatLE(index * 4)));
    expect(floats).toMatchObject({ object: "list", model: "m", usage: { prompt_tokens: 3, total_tokens: 3 } });
    expect(floats.data[0]).toMatchObject({ object: "embedding", index: 0 });
  });

  test("tokens have the same embedding as their text", async () => {
    const body = { model: "m", input: await encodeText("hello world"), dimensions: 8 };
    const text = await postEmbeddings({ ...body, input: "hello world" });
    expect((await postEmbeddings(body)).data).toEqual(text.data);
    expect((await post("/embeddings", { ...body, input: [99_999_999] })).status).toBe(400);
  });
});
