import { GeistMono } from "geist/font/mono";
import { GeistSans } from "geist/font/sans";
import type { Metadata, Viewport } from "next";
import type { ReactNode } from "react";
import { Hydrated } from "#ui/hydrated.tsx";
import "./globals.css";

export const metadata: Metadata = {
  title: { default: "Quota", template: "%s · Quota" },
  description: "A wallet for AI apps: the person pays for inference, in every app, from one balance.",
};

export const viewport: Viewport = {
  themeColor: [
    { media: "(prefers-color-scheme: light)", color: "#f9fafa" },
    { media: "(prefers-color-scheme: dark)", color: "#0d1114" },
  ],
};

export default function RootLayout({ children }: { children: ReactNode }) {
  return (
    <html data-hydrating="" suppressHydrationWarning lang="en" className={`${GeistSans.variable} ${GeistMono.variable}`}>
      <body className="flex min-h-dvh flex-col font-sans">
        {children}
        <Hydrated />
      </body>
    </html>
  );
}
