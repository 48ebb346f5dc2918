import { lexer, type MarkedToken, type Token, type Tokens } from "marked";
import Link from "next/link";
import { createElement, Fragment, type ReactNode } from "react";
import { readFence } from "./code.ts";
import { anchorMaker } from "./sections.ts";
import { Snippet, Snippets } from "./snippet.tsx";

/** Renders a page's Markdown. Throws for elements that no page uses, which the build's tests find. */
export function Markdown({ text, insert }: { text: string; insert?: ((name: string) => ReactNode) | undefined }) {
  return blocks(lexer(text) as MarkedToken[], { anchor: anchorMaker(), insert });
}

/** `insert` returns what replaces `<!-- insert: name -->`. */
type Around = { anchor: ReturnType<typeof anchorMaker>; insert: ((name: string) => ReactNode) | undefined };

function blocks(tokens: readonly MarkedToken[], around: Around): ReactNode {
  const parts: ReactNode[] = [];
  const content = tokens.filter(({ type }) => type !== "space");
  for (let n = 0; n < content.length; n++) {
    const token = content[n] as MarkedToken;
    const tabs = token.type === "code" ? tabsFrom(content, n) : [];
    if (tabs.length > 1) {
      parts.push(<Snippets tabs={tabs} />);
      n += tabs.length - 1;
    } else parts.push(block(token, around));
  }
  return together(parts);
}

/** Adjacent code blocks with a `tab`. */
function tabsFrom(tokens: readonly MarkedToken[], from: number): { tab: string; text: string; language: string }[] {
  const tabs: { tab: string; text: string; language: string }[] = [];
  for (const token of tokens.slice(from)) {
    if (token.type !== "code") break;
    const { tab, language } = readFence(token.lang);
    if (tab === undefined) break;
    tabs.push({ tab, text: token.text, language });
  }
  return tabs;
}

function block(token: MarkedToken, around: Around): ReactNode {
  switch (token.type) {
    case "heading":
      return heading(token, around);
    case "paragraph":
      return <p className="my-4">{inline(token.tokens)}</p>;
    case "text":
      return inline(token.tokens ?? [token]);
    case "code": {
      const { language, file } = readFence(token.lang);
      return <Snippet text={token.text} language={language} file={file} />;
    }
    case "blockquote":
      return (
        <blockquote className="my-5 rounded-r-md border-l-2 border-accent bg-accent-wash px-4 py-0.5 [&>p]:my-3">
          {blocks(token.tokens as MarkedToken[], around)}
        </blockquote>
      );
    case "list":
      return createElement(
        token.ordered ? "ol" : "ul",
        {
          className: token.ordered ? "my-4 list-decimal space-y-2 pl-6 marker:text-soft" : "my-4 list-disc space-y-2 pl-6 marker:text-soft",
        },
        ...token.items.map((item) => createElement("li", null, blocks(item.tokens as MarkedToken[], around))),
      );
    case "table":
      return table(token);
    case "hr":
      return <hr className="my-8 border-line" />;
    case "html":
      return around.insert?.(/<!-- insert: (.+?) -->/.exec(token.text)?.[1] ?? "") ?? null;
    default:
      throw new Error(`The pages have no ${token.type}.`);
  }
}

function heading({ depth, text, tokens }: Tokens.Heading, { anchor }: Around): ReactNode {
  if (depth === 1) return <h1 className="text-3xl font-semibold tracking-tight [overflow-wrap:anywhere]">{inline(tokens)}</h1>;
  const id = anchor(text);
  const className =
    depth === 2
      ? "group mb-3 mt-12 scroll-mt-6 text-xl font-semibold tracking-tight [overflow-wrap:anywhere]"
      : "group mb-2 mt-8 scroll-mt-6 font-semibold [overflow-wrap:anywhere]";
  const link = (
    <a href={`#${id}`} className="rounded-sm underline-offset-4 hover:underline">
      {inline(tokens)}
    </a>
  );
  return createElement(`h${depth}`, { id, className }, link);
}

function table({ header, rows }: Tokens.Table): ReactNode {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a scroll area has to be reachable by keyboard, and not every browser makes it so.
    <div tabIndex={0} className="my-5 overflow-x-auto rounded-lg border border-line bg-surface">
      <table className="w-full text-sm leading-5">
        <thead>
          <tr>{together(header.map(tableHead))}</tr>
        </thead>
        <tbody>{together(rows.map(tableRow))}</tbody>
      </table>
    </div>
  );
}

function tableHead({ tokens }: Tokens.TableCell): ReactNode {
  return createElement(
    tokens.length > 0 ? "th" : "td",
    {
      ...(tokens.length > 0 && { scope: "col" }),
      className: "whitespace-nowrap border-b border-line px-4 py-2.5 text-left font-medium text-soft",
    },
    inline(tokens),
  );
}

function tableRow(row: Tokens.TableCell[]): ReactNode {
  const cells = row.map(({ tokens }) =>
    createElement("td", { className: "px-4 py-2.5 align-top [&_code]:whitespace-nowrap" }, inline(tokens)),
  );
  return createElement("tr", { className: "border-b border-line last:border-b-0" }, ...cells);
}

function inline(tokens: readonly Token[]): ReactNode {
  return together((tokens as readonly MarkedToken[]).map(span));
}

function span(token: MarkedToken): ReactNode {
  switch (token.type) {
    case "text":
    case "escape":
      return "tokens" in token && token.tokens ? inline(token.tokens) : token.text;
    case "strong":
      return <strong className="font-semibold">{inline(token.tokens)}</strong>;
    case "em":
      return <em>{inline(token.tokens)}</em>;
    case "codespan":
      return <code className="rounded-sm bg-sunken px-1 py-0.5 font-mono text-[0.85em] [overflow-wrap:anywhere]">{token.text}</code>;
    case "link":
      // A bare URL in the text is a name and no link.
      if (!token.raw.startsWith("[")) return token.text;
      return <TextLink href={token.href}>{inline(token.tokens)}</TextLink>;
    case "br":
      return <br />;
    case "html":
      return null;
    default:
      throw new Error(`The pages have no ${token.type}.`);
  }
}

/** Links to pages of this server use client-side navigation; other links are plain. */
function TextLink({ href, children }: { href: string; children: ReactNode }) {
  const page = href.startsWith("/") && !/\.\w+($|#)/.test(href);
  return page ? (
    <Link href={href} className="prose-link">
      {children}
    </Link>
  ) : (
    <a href={href} className="prose-link">
      {children}
    </a>
  );
}

/** Elements in a fixed order, as children that need no keys. */
function together(parts: readonly ReactNode[]): ReactNode {
  return createElement(Fragment, null, ...parts);
}
