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
        r#"
app/src/lib.rs:1 import task
app/src/lib.rs:2 import util
app/src/lib.rs:3 import task::{Kind, Task as Job}
app/src/lib.rs:4 import util::*
app/src/lib.rs:6 constant LIMIT +
app/src/lib.rs:7 variable NAME -
app/src/lib.rs:10 function run + c6
app/src/lib.rs:18 macro shout
app/src/lib.rs:20 module inner -
app/src/lib.rs:21 import inner::super::run
app/src/lib.rs:22 function inner::again ~ c1
app/src/task.rs:1 import crate::util::Work
app/src/task.rs:3 struct Task +
app/src/task.rs:3 field Task::kind +
app/src/task.rs:3 field Task::next -
app/src/task.rs:5 enum Kind +
app/src/task.rs:5 constant Kind::A +
app/src/task.rs:5 constant Kind::B +
app/src/task.rs:8 method Task::new + c1
app/src/task.rs:9 method Task::step + c1
app/src/task.rs:10 method Task::done - c1
app/src/task.rs:14 method Task::work - c1
app/src/util.rs:1 trait Named +
app/src/util.rs:2 trait Work +
app/src/util.rs:2 method Work::work + c1
app/src/util.rs:3 function helper + c3
app/src/util.rs:4 type_alias Id +
app/tests/all.rs:1 import app::task::Task
app/tests/all.rs:3 function check - c1

Task implements Work 0.85
Task::kind references Kind 0.9
Task::new references Kind 0.9
Task::next references Task 0.9
Task::step calls Task::done 0.95
Task::step calls Task::work 0.95
Work inherits Named 0.9
app/src/lib.rs imports app/src/task.rs 0.95
app/src/lib.rs imports app/src/util.rs 0.95
app/src/task.rs imports app/src/util.rs 0.95
app/tests/all.rs imports app/src/task.rs 0.7
check calls Task::step 0.8
check calls run 0.85
check references Task 0.85
inner::again calls run 0.9
run calls Task::new 0.85
run calls Task::step 0.8
run calls helper 0.8
run calls shout 0.9
run references Kind 0.85
run references Kind::A 0.85
run references Kind::B 0.85
run references LIMIT 0.9
run references Task 0.85
"#,
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
        r#"
main.py:1 import pkg.base
main.py:2 import pkg.tools
main.py:4 class App +
main.py:5 method App.run + c1
main.py:11 function main + c2
pkg/__init__.py:1 import .base
pkg/base.py:1 import os
pkg/base.py:2 import pkg
pkg/base.py:4 constant LIMIT +
pkg/base.py:5 variable _hidden -
pkg/base.py:8 class Base +
pkg/base.py:10 field Base.kind +
pkg/base.py:12 method Base.__init__ + c1
pkg/base.py:15 method Base.go + c6
pkg/base.py:22 method Base._stop - c1
pkg/base.py:24 method Base.stop + c1
pkg/tools.py:1 class Tool +
pkg/tools.py:2 method Tool.use + c2
pkg/tools.py:8 function helper + c1

App inherits Base 0.85
App.run calls Base.go 0.8
App.run calls Base.stop 0.8
App.run calls helper 0.85
App.run references LIMIT 0.85
App.run references pkg/__init__.py 0.85
Base.__init__ calls Tool 0.85
Base.__init__ references pkg/tools.py 0.85
Base.go calls Base.stop 0.95
Base.go calls Tool.use 0.8
Base.go references LIMIT 0.9
Base.stop calls helper 0.85
Base.stop references pkg/tools.py 0.85
helper calls Tool 0.9
main calls App.run 0.9
main references App 0.9
main.py imports pkg/__init__.py 0.7
main.py imports pkg/base.py 0.7
main.py imports pkg/tools.py 0.7
pkg/__init__.py imports pkg/base.py 0.95
pkg/base.py imports pkg/tools.py 0.7
"#,
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
        r#"
src/Button.tsx:1 import ./app
src/Button.tsx:2 function Button + c1
src/Button.tsx:5 function Icon - c1
src/app.ts:1 import ./store
src/app.ts:2 import ./util/index.js
src/app.ts:3 import ./Button
src/app.ts:4 import react
src/app.ts:6 constant LIMIT +
src/app.ts:7 variable count -
src/app.ts:9 interface Runs +
src/app.ts:9 method Runs.run + c1
src/app.ts:9 field Runs.name +
src/app.ts:10 type_alias Id +
src/app.ts:11 enum Color +
src/app.ts:11 constant Color.Red +
src/app.ts:11 constant Color.Green +
src/app.ts:13 class App +
src/app.ts:14 field App.store -
src/app.ts:15 field App.#secret -
src/app.ts:16 method App.constructor + c1
src/app.ts:17 method App.run + c2
src/app.ts:18 method App.stop # c3
src/app.ts:19 method App.make + c1
src/app.ts:22 class Base -
src/app.ts:22 method Base.stop + c1
src/app.ts:24 module Inner -
src/app.ts:24 function Inner.deep + c1
src/app.ts:26 function main + c1
src/app.ts:29 function main.local + c2
src/app.ts:33 function helper - c2
src/store.ts:1 interface Item +
src/store.ts:1 field Item.id +
src/store.ts:2 class Store +
src/store.ts:2 field Store.items +
src/store.ts:2 method Store.put + c1
src/util/format.ts:1 function format + c1
src/util/index.ts:1 import ./format

App implements Runs 0.9
App inherits Base 0.9
App.make calls App 0.9
App.run calls App.stop 0.95
App.run calls Store.put 0.8
App.run calls format 0.6
App.run references Item 0.85
App.run references LIMIT 0.9
App.run references src/util/index.ts 0.85
App.stop references count 0.9
App.store calls Store 0.85
Button references Icon 0.9
Button references LIMIT 0.85
Inner.deep calls main 0.9
Runs.run references Item 0.85
Store.items references Item 0.9
Store.put references Item 0.9
main calls App 0.9
main calls App.run 0.9
main references helper 0.9
main references main.local 0.95
main.local calls helper 0.9
src/Button.tsx imports src/app.ts 0.95
src/app.ts imports src/Button.tsx 0.95
src/app.ts imports src/store.ts 0.95
src/app.ts imports src/util/index.ts 0.95
src/util/index.ts imports src/util/format.ts 0.95
"#,
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
        r#"
lib/a.js:1 import ./b
lib/a.js:2 import ./b
lib/a.js:3 class A -
lib/a.js:3 method A.constructor + c1
lib/a.js:3 method A.y + c1
lib/a.js:4 function one - c2
lib/b.js:1 function two - c1
lib/b.js:2 function three - c2
lib/c.jsx:1 import ./a
lib/c.jsx:2 function View + c1

A.constructor calls two 0.85
A.y calls three 0.85
A.y references lib/b.js 0.85
View calls one 0.85
lib/a.js imports lib/b.js 0.95
lib/a.js references A 0.9
lib/a.js references one 0.9
lib/b.js references three 0.9
lib/b.js references two 0.9
lib/c.jsx imports lib/a.js 0.95
one calls A 0.9
three calls two 0.9
"#,
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
        r#"
src/Child.vue:2 function click + c1
src/View.vue:6 constant shared +
src/View.vue:10 import ./Child.vue
src/View.vue:11 import ./load
src/View.vue:13 function go - c1
src/load.ts:1 function load + c1

go calls load 0.85
go references shared 0.9
go references src/Child.vue 0.85
src/View.vue imports src/Child.vue 0.95
src/View.vue imports src/load.ts 0.95
"#,
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
        r#"
main.go:4 import fmt
main.go:5 import example.com/app/store
main.go:8 constant Limit +
main.go:10 variable count ~
main.go:10 variable other ~
main.go:12 interface Runner +
main.go:14 method Runner.Run + c1
main.go:17 interface Stopper +
main.go:17 method Stopper.Stop + c1
main.go:19 struct App +
main.go:21 field App.store ~
main.go:22 field App.Name +
main.go:25 struct base ~
main.go:27 type_alias ID +
main.go:29 method App.Run + c4
main.go:40 method base.helper ~ c1
main.go:42 function main ~ c2
more.go:3 function again ~ c1
store/store.go:3 struct Store +
store/store.go:3 field Store.items ~
store/store.go:5 function New + c1
store/store.go:7 method Store.Put + c1

App inherits base 0.9
App.Run calls Store.Put 0.8
App.Run calls base.helper 0.8
App.Run references App 0.9
App.Run references Limit 0.9
App.store references Store 0.85
New references Store 0.9
Runner inherits Stopper 0.9
Store.Put references Store 0.9
base.helper references base 0.9
main calls App.Run 0.9
main calls New 0.85
main calls Store.Put 0.4
main calls again 0.8
main references App 0.9
main references count 0.9
main references store/store.go 0.85
main.go imports store/store.go 0.7
"#,
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
        r#"
src/main/java/app/App.java:3 import app.store.Store
src/main/java/app/App.java:4 import app.util
src/main/java/app/App.java:5 import app.util.Text.trim
src/main/java/app/App.java:6 import java.util.List
src/main/java/app/App.java:9 class App +
src/main/java/app/App.java:10 constant App.LIMIT -
src/main/java/app/App.java:11 field App.store -
src/main/java/app/App.java:12 field App.name #
src/main/java/app/App.java:14 method App.App + c1
src/main/java/app/App.java:16 method App.run + c5
src/main/java/app/App.java:25 method App.list ~ c1
src/main/java/app/App.java:27 enum App.Kind ~
src/main/java/app/App.java:27 constant App.Kind.A ~
src/main/java/app/App.java:27 constant App.Kind.B ~
src/main/java/app/Base.java:3 class Base ~
src/main/java/app/Base.java:4 method Base.stop ~ c2
src/main/java/app/Base.java:5 method Base.run ~ c1
src/main/java/app/Base.java:8 interface Runs ~
src/main/java/app/Base.java:8 method Runs.run + c1
src/main/java/app/Base.java:9 interface Named ~
src/main/java/app/Base.java:10 class Pair ~
src/main/java/app/store/Store.java:3 class Store +
src/main/java/app/store/Store.java:3 method Store.put + c1
src/main/java/app/util/Text.java:3 class Text +
src/main/java/app/util/Text.java:4 method Text.join + c1
src/main/java/app/util/Text.java:5 method Text.trim + c1

App calls Store 0.85
App implements Runs 0.8
App inherits Base 0.8
App.run calls App.list 0.95
App.run calls Base.stop 0.8
App.run calls Store 0.85
App.run calls Store.put 0.8
App.run calls Text.join 0.85
App.run calls Text.trim 0.85
App.run references App.Kind 0.95
App.run references App.Kind.A 0.9
App.run references App.LIMIT 0.95
Base.stop calls Base.run 0.95
Runs inherits Named 0.9
Text.trim calls Text.join 0.95
src/main/java/app/App.java imports src/main/java/app/store/Store.java 0.7
src/main/java/app/App.java imports src/main/java/app/util/Text.java 0.7
"#,
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
        r#"
src/list.c:1 import list.h
src/list.c:2 function list_push + c2
src/list.h:3 type_alias list_t
src/list.h:3 struct list
src/list.h:3 field list::size +
src/list.h:3 field list::next +
src/list.h:4 enum color_t
src/list.h:4 constant color_t::RED
src/list.h:4 constant color_t::GREEN
src/main.c:1 import stdio.h
src/main.c:2 import list.h
src/main.c:4 constant LIMIT
src/main.c:5 macro MAX
src/main.c:7 variable count -
src/main.c:8 variable name +
src/main.c:10 function helper - c3
src/main.c:15 function main + c3

helper calls MAX 0.9
helper calls list_push 0.6
helper references LIMIT 0.9
helper references count 0.9
helper references list 0.8
list_push references list_t 0.8
main calls helper 0.9
main references list 0.8
src/list.c imports src/list.h 0.95
src/list.h references list_t 0.9
src/main.c imports src/list.h 0.95
"#,
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
        r#"
inc/plain.h:1 class Plain
inc/plain.h:1 field Plain::a -
inc/shape.hpp:2 module geo
inc/shape.hpp:3 class geo::Shape
inc/shape.hpp:5 method geo::Shape::~Shape + c1
inc/shape.hpp:6 method geo::Shape::area + c1
inc/shape.hpp:7 method geo::Shape::draw + c1
inc/shape.hpp:9 field geo::Shape::id_ #
inc/shape.hpp:11 field geo::Shape::next_ -
inc/shape.hpp:13 type_alias geo::Id
inc/shape.hpp:14 struct geo::Box
inc/shape.hpp:14 field geo::Box::inner +
inc/shape.hpp:14 method geo::Box::area + c1
inc/shape.hpp:15 enum geo::Color
inc/shape.hpp:15 constant geo::Color::Red
inc/shape.hpp:15 constant geo::Color::Green
src/shape.cpp:1 import ../inc/shape.hpp
src/shape.cpp:3 module geo
src/shape.cpp:4 constant geo::LIMIT -
src/shape.cpp:6 function geo::helper + c2
src/shape.cpp:8 method geo::Shape::draw c4
src/shape.cpp:14 function run + c1

geo::Box inherits geo::Shape 0.95
geo::Shape::draw calls geo::Box::area 0.3
geo::Shape::draw calls geo::Shape::area 0.85
geo::Shape::draw calls geo::Shape::draw 0.4
geo::Shape::draw calls geo::helper 0.95
geo::helper references geo::LIMIT 0.95
run calls geo::Box 0.8
run calls geo::Shape::draw 0.9
run calls geo::helper 0.9
run references geo::Shape 0.85
src/shape.cpp imports inc/shape.hpp 0.95
"#,
    );
}
