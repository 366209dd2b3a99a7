//! For each language a tree, and what is found in it: nodes with `+` public, `-` private, `#` protected, `~` internal and their
//! complexity, then relationships with their confidence.

use super::{Tree, nodes, relationships};

/// Holds a tree against what is expected of it: nodes, an empty line, relationships.
fn check(files: &[(&str, &str)], expected: &str) {
    let mut tree = Tree::new(files);
    let analysis = tree.analyze();
    assert_eq!(analysis.skipped, 0);
    let graph = tree.analyzer.graph();
    let graph = graph.read();
    let found = format!("{}\n{}", nodes(&graph), relationships(&graph));
    let (found, expected) = (found.trim(), expected.trim());
    if found != expected {
        let missing = expected.lines().filter(|line| !found.contains(line));
        let surplus = found.lines().filter(|line| !expected.contains(line));
        let missing: Vec<_> = missing.map(|line| format!("- {line}")).collect();
        let surplus: Vec<_> = surplus.map(|line| format!("+ {line}")).collect();
        panic!("it is another graph:\n{}\n{}\n\n{found}", missing.join("\n"), surplus.join("\n"));
    }
}

#[test]
fn rust() {
    check(
        &[
            ("Cargo.toml", ""),
            (
                "app/src/lib.rs",
                r##"mod task;
pub mod util;
use task::{Kind, Task as Job};
use util::*;

pub const LIMIT: u32 = 3;
static NAME: &str = "x";

/// Runs.
pub fn run(job: &Job) -> u32 {
    let own = Job::new(Kind::A);
    own.step();
    job.step();
    if LIMIT > 2 && true || false { helper(); }
    match job.kind { Kind::A => 1, Kind::B(n) => n, _ => shout!(2) }
}

macro_rules! shout { ($x:expr) => { $x } }

mod inner {
    use super::run;
    pub(crate) fn again() { run(todo()); }
}
"##,
            ),
            (
                "app/src/task.rs",
                r##"use crate::util::Work;

pub struct Task { pub kind: Kind, next: Option<Box<Task>> }

pub enum Kind { A, B(u32) }

impl Task {
    pub fn new(kind: Kind) -> Self { Self { kind, next: None } }
    pub fn step(&self) { self.done(); self.work(); }
    fn done(&self) {}
}

impl Work for Task {
    fn work(&self) {}
}
"##,
            ),
            (
                "app/src/util.rs",
                r##"pub trait Named {}
pub trait Work: Named { fn work(&self); }
pub fn helper() { let f = helper; for _ in 0..2 { f()?; } }
pub type Id = u64;
"##,
            ),
            (
                "app/tests/all.rs",
                r##"use app::task::Task;

fn check(task: Task) { task.step(); app::run(&task); }
"##,
            ),
        ],
        r#"EXPECT_rust"#,
    );
}

#[test]
fn python() {
    check(
        &[
            (
                "pkg/__init__.py",
                r##"from .base import Base
"##,
            ),
            (
                "pkg/base.py",
                r##"import os
from pkg import tools as t

LIMIT = 3
_hidden: int = 1


class Base:
    """Text."""
    kind = "base"

    def __init__(self, tool: t.Tool):
        self.tool = t.Tool()

    def go(self, n=LIMIT):
        if n and n > 1:
            self.stop()
        for i in range(n):
            self.tool.use()
        return [x for x in () if x]

    def _stop(self): pass

    async def stop(self):
        t.helper(self)
"##,
            ),
            (
                "pkg/tools.py",
                r##"class Tool:
    def use(self):
        try:
            os.stat("x")
        except OSError:
            pass

def helper(value): return Tool()
"##,
            ),
            (
                "main.py",
                r##"from pkg.base import Base, LIMIT as limit
import pkg.tools

class App(Base):
    def run(self):
        self.go(limit)
        super().stop()
        pkg.tools.helper(1)

@decorated
def main(app: App):
    app.run()
    callback(main)
    match app:
        case 1: pass
        case _: pass
"##,
            ),
        ],
        r#"EXPECT_python"#,
    );
}

#[test]
fn typescript() {
    check(
        &[
            (
                "src/app.ts",
                r##"import { Store, type Item as Thing } from "./store";
import * as util from './util/index.js';
import Button from "./Button";
import React from "react";

export const LIMIT = 3;
let count = 0;

export interface Runs extends Named { run(thing: Thing): void; readonly name: string }
export type Id = string | number;
export enum Color { Red, Green = 2 }

export abstract class App extends Base<Thing> implements Runs {
  private store: Store = new Store();
  #secret = 1;
  constructor(public name: string) { super(); }
  run(thing: Thing) { this.store.put(thing); this.stop(); util.format(thing?.id ?? LIMIT); }
  protected stop = () => { if (count > 1 && true) count++; };
  static make(): App { return new App("x"); }
}

class Base<T> { stop() {} }

namespace Inner { export function deep() { main(); } }

export function main() {
  const app = new App("a");
  app.run({ id: 1 });
  const local = (x: number) => x > 1 ? helper(x) : 0;
  [1].map(helper);
  return local;
}
const helper = (n) => { switch (n) { case 1: return 2; default: return 3; } };
"##,
            ),
            (
                "src/store.ts",
                r##"export interface Item { id: number }
export class Store { items: Item[] = []; put(item: Item) { this.items.push(item); } }
"##,
            ),
            (
                "src/util/index.ts",
                r##"export { format } from './format';
"##,
            ),
            (
                "src/util/format.ts",
                r##"export function format(value: unknown): string { return `${value}`; }
"##,
            ),
            (
                "src/Button.tsx",
                r##"import { LIMIT } from "./app";
export default function Button(props: { label: string }) {
  return <div>{LIMIT}<Icon name={props.label} /></div>;
}
const Icon = (props: any) => <i />;
"##,
            ),
        ],
        r#"EXPECT_typescript"#,
    );
}

#[test]
fn javascript() {
    check(
        &[
            (
                "lib/a.js",
                r##"const { two } = require('./b');
const b = require('./b');
class A { constructor() { this.x = two(); } get y() { return b.three(); } }
function one() { while (false) {} return new A(); }
module.exports = { one, A };
"##,
            ),
            (
                "lib/b.js",
                r##"function two() { return 2; }
const three = function () { return two() || 0; };
module.exports = { two, three };
"##,
            ),
            (
                "lib/c.jsx",
                r##"import { one } from './a';
export const View = () => <p onClick={one}>{one()}</p>;
"##,
            ),
        ],
        r#"EXPECT_javascript"#,
    );
}

#[test]
fn vue() {
    check(
        &[
            (
                "src/View.vue",
                r##"<template>
  <Child @click="go" />
</template>

<script lang="ts">
export const shared = 1;
</script>

<script setup lang="ts">
import Child from './Child.vue';
import { load } from './load';

function go() {
  load(shared);
  return Child;
}
</script>

<style>p { color: red }</style>
"##,
            ),
            (
                "src/Child.vue",
                r##"<script>
export default { methods: { click() { this.x = 1; } } };
</script>
"##,
            ),
            (
                "src/load.ts",
                r##"export function load(n: number) { return n; }
"##,
            ),
        ],
        r#"EXPECT_vue"#,
    );
}

#[test]
fn go() {
    check(
        &[
            (
                "go.mod",
                r##"module example.com/app
"##,
            ),
            (
                "main.go",
                r##"package main

import (
	"fmt"
	st "example.com/app/store"
)

const Limit = 3

var count, other = 0, 1

type Runner interface {
	Stopper
	Run(n int) error
}

type Stopper interface{ Stop() }

type App struct {
	base
	store *st.Store
	Name  string
}

type base struct{}

type ID = int

func (a *App) Run(n int) error {
	if n > Limit && a != nil {
		return a.store.Put(n)
	}
	a.helper()
	for i := range 3 {
		fmt.Println(i)
	}
	return nil
}

func (b base) helper() {}

func main() {
	app := &App{}
	app.Run(1)
	s := st.New()
	s.Put(2)
	switch count {
	case 1:
		again(main)
	default:
	}
}
"##,
            ),
            (
                "more.go",
                r##"package main

func again(f func()) {}
"##,
            ),
            (
                "store/store.go",
                r##"package store

type Store struct{ items []int }

func New() *Store { return &Store{} }

func (s *Store) Put(n int) error { return nil }
"##,
            ),
        ],
        r#"EXPECT_go"#,
    );
}

#[test]
fn java() {
    check(
        &[
            (
                "src/main/java/app/App.java",
                r##"package app;

import app.store.Store;
import app.util.*;
import static app.util.Text.trim;
import java.util.List;

/** Doc. */
public class App extends Base implements Runs {
    private static final int LIMIT = 3;
    private final Store store = new Store();
    protected String name;

    public App(String name) { this.name = name; }

    @Override
    public void run(int n) {
        if (n > LIMIT && store != null) { store.put(n); }
        for (int i : list()) { stop(); }
        Text.join(trim(name));
        Store other = new Store();
        other.put(n > 1 ? 2 : Kind.A.ordinal());
    }

    int[] list() { return null; }

    enum Kind { A, B }
}
"##,
            ),
            (
                "src/main/java/app/Base.java",
                r##"package app;

abstract class Base {
    void stop() { try { run(1); } catch (RuntimeException e) { } }
    abstract void run(int n);
}

interface Runs extends Named { void run(int n); }
interface Named { }
record Pair(int a, int b) { }
"##,
            ),
            (
                "src/main/java/app/store/Store.java",
                r##"package app.store;

public class Store { public void put(int n) { } }
"##,
            ),
            (
                "src/main/java/app/util/Text.java",
                r##"package app.util;

public class Text {
    public static String join(String s) { return s; }
    public static String trim(String s) { return join(s); }
}
"##,
            ),
        ],
        r#"EXPECT_java"#,
    );
}

#[test]
fn c() {
    check(
        &[
            (
                "src/main.c",
                r##"#include <stdio.h>
#include "list.h"

#define LIMIT 3
#define MAX(a, b) ((a) > (b) ? (a) : (b))

static int count = 0;
const char *name = "x";

static int helper(struct list *list) {
    if (list && list->size > LIMIT) { list_push(list, 1); }
    return MAX(count, 2);
}

int main(int argc, char **argv) {
    struct list list;
    int (*fn)(struct list *) = helper;
    switch (argc) { case 1: return fn(&list); default: return helper(&list); }
}
"##,
            ),
            (
                "src/list.h",
                r##"#ifndef LIST_H
#define LIST_H
typedef struct list { int size; struct list *next; } list_t;
typedef enum { RED, GREEN } color_t;
void list_push(list_t *list, int n);
#endif
"##,
            ),
            (
                "src/list.c",
                r##"#include "list.h"
void list_push(list_t *list, int n) { for (;;) { list->size += n; } }
"##,
            ),
        ],
        r#"EXPECT_c"#,
    );
}

#[test]
fn cpp() {
    check(
        &[
            (
                "inc/shape.hpp",
                r##"#pragma once
namespace geo {
class Shape {
public:
    virtual ~Shape();
    virtual double area() const = 0;
    void draw();
protected:
    int id_;
private:
    Shape *next_;
};
using Id = int;
template <typename T> struct Box : public Shape { T inner; double area() const override { return 1; } };
enum class Color { Red, Green };
}
"##,
            ),
            (
                "src/shape.cpp",
                r##"#include "../inc/shape.hpp"

namespace geo {
static const int LIMIT = 3;

double helper(double x) { return x > LIMIT ? x : 0; }

void Shape::draw() {
    if (next_ && next_->area() > 1) { helper(area()); }
    for (auto &s : all()) { s.draw(); }
}
}

int run(geo::Shape &shape) {
    auto *box = new geo::Box<int>();
    shape.draw();
    return geo::helper(2);
}
"##,
            ),
            (
                "inc/plain.h",
                r##"class Plain { int a; };
"##,
            ),
        ],
        r#"EXPECT_cpp"#,
    );
}
