//! What is asked, and what is answered.

use super::Tree;
use crate::queries::{
    Category, Direction, Order, Relation, Search, SubgraphQuery, Traverse, Window, categories, node, related, search,
    stats, subgraph, traverse,
};
use crate::{NodeKind, RelationshipKind};

const ALL: Window = Window { offset: 0, limit: 500 };

fn tree() -> Tree {
    let mut tree = Tree::new(&[
        (
            "a.rs",
            "pub fn entry() { middle(); other(); }\nfn middle() { leaf(); }\nfn other() { leaf(); middle(); }\npub fn leaf() { if a { } }",
        ),
        ("b.py", "class Leaflet:\n    def Method(self): pass\n"),
    ]);
    tree.analyze();
    tree
}

#[test]
fn a_search_finds_the_name_itself_first() {
    let tree = tree();
    let graph = tree.analyzer.graph();
    let graph = graph.read();
    let names = |text: &str, window| {
        let page = search(&graph, &Search { text: text.into(), ..Search::default() }, window);
        (page.items.iter().map(|node| node.qualified_name.to_string()).collect::<Vec<_>>(), page.next, page.total)
    };
    assert_eq!(names("LEAF", ALL), (vec!["leaf".into(), "Leaflet".into()], None, 2));
    assert_eq!(names("leaf", Window { offset: 0, limit: 1 }), (vec!["leaf".into()], Some("1".into()), 2));
    assert_eq!(names("leaf", Window { offset: 1, limit: 1 }), (vec!["Leaflet".into()], None, 2));
    assert_eq!(names("leaflet.me", ALL).0, ["Leaflet.Method"]);
    assert_eq!(names("nothing", ALL).2, 0);
    let methods = Search { kind: Some(NodeKind::Method), path: Some("b.py".into()), ..Search::default() };
    assert_eq!(search(&graph, &methods, ALL).total, 1);
    assert!(Window::new(Some("x"), None).is_err());
    assert!(Window::new(None, Some(501)).is_err());
    assert_eq!(Window::new(Some("7"), None), Ok(Window { offset: 7, limit: 50 }));
}

#[test]
fn a_node_says_what_is_around_it() {
    let tree = tree();
    let graph = tree.analyzer.graph();
    let graph = graph.read();
    let view = node(&graph, tree.node("middle").id).unwrap();
    let kinds = |list: &[crate::Relationship]| list.iter().map(|one| one.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&view.outgoing), [RelationshipKind::Calls]);
    assert_eq!(kinds(&view.incoming), [RelationshipKind::Contains, RelationshipKind::Calls, RelationshipKind::Calls]);
    let module = node(&graph, tree.node("a.rs").id).unwrap();
    let names: Vec<_> = module.contained.iter().map(|node| &*node.name).collect();
    assert_eq!(names, ["entry", "middle", "other", "leaf"]);
    assert!(node(&graph, crate::NodeId(1)).is_none());
}

#[test]
fn a_traversal_goes_as_far_as_it_is_told() {
    let tree = tree();
    let graph = tree.analyzer.graph();
    let graph = graph.read();
    let walk = |query: &Traverse| {
        let reached = traverse(&graph, query).unwrap();
        let mut names: Vec<_> =
            reached.nodes.iter().map(|visited| format!("{} {}", visited.depth, visited.node.name)).collect();
        names[1..].sort();
        (names, reached.relationships.len(), reached.truncated)
    };
    let entry = Traverse::calls(tree.node("entry").id, Direction::Out);
    assert_eq!(walk(&entry), (vec!["0 entry".into(), "1 middle".into(), "1 other".into(), "2 leaf".into()], 5, false));
    let near = Traverse { max_depth: 1, ..entry.clone() };
    assert_eq!(walk(&near).0.len(), 3);
    assert!(walk(&near).2, "there is more behind");
    assert_eq!(walk(&Traverse { limit: 2, ..entry.clone() }).0.len(), 2);
    assert_eq!(walk(&Traverse { order: Order::Dfs, ..entry }).1, 5);
    let callers = Traverse::calls(tree.node("leaf").id, Direction::In);
    assert_eq!(walk(&callers).0, ["0 leaf", "1 middle", "1 other", "2 entry"]);
    assert!(traverse(&graph, &Traverse::calls(crate::NodeId(1), Direction::Out)).is_none());
}

#[test]
fn callers_and_callees_are_asked_by_name_or_id() {
    let tree = tree();
    let graph = tree.analyzer.graph();
    let graph = graph.read();
    let ask = |relation, symbol: &str| {
        let listed = related(&graph, relation, symbol, ALL)?;
        let mut names: Vec<_> = listed.items.iter().map(|one| one.node.name.to_string()).collect();
        names.sort();
        Some(names)
    };
    assert_eq!(ask(Relation::Callers, "leaf").unwrap(), ["middle", "other"]);
    assert_eq!(ask(Relation::Callees, &tree.node("entry").id.to_string()).unwrap(), ["middle", "other"]);
    assert_eq!(ask(Relation::References, "entry").unwrap(), Vec::<String>::new());
    assert_eq!(ask(Relation::Callers, "nobody"), None);
}

#[test]
fn categories_and_figures_follow_the_graph() {
    let mut tree = tree();
    let names = |tree: &Tree, category| {
        let graph = tree.analyzer.graph();
        let page = categories(&graph.read(), category, ALL);
        page.items
            .iter()
            .map(|item| format!("{} {}/{}", item.node.name, item.in_degree, item.out_degree))
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&tree, Category::EntryPoints), ["entry 0/2", "Leaflet 0/0", "Method 0/0"]);
    assert_eq!(names(&tree, Category::Hubs), ["middle 2/1", "other 1/2"]);
    assert_eq!(names(&tree, Category::Leaves), ["leaf 2/0", "Leaflet 0/0", "Method 0/0"]);
    tree.write("a.rs", "pub fn entry() { unknown(); }");
    tree.analyze();
    assert_eq!(names(&tree, Category::Hubs), Vec::<String>::new());
    let graph = tree.analyzer.graph();
    let figures = serde_json::to_value(stats(&graph.read())).unwrap();
    assert_eq!(figures["node_kinds"], serde_json::json!({"module": 2, "class": 1, "function": 1, "method": 1}));
    assert_eq!(figures["languages"], serde_json::json!({"rust": 1, "python": 1}));
    assert_eq!(figures["complexity"], serde_json::json!({"low": 2, "moderate": 0, "high": 0, "very_high": 0}));
    assert_eq!(figures["unresolved"], 1);
}

#[test]
fn a_subgraph_has_what_holds_among_its_nodes() {
    let tree = tree();
    let graph = tree.analyzer.graph();
    let graph = graph.read();
    let calls = vec![RelationshipKind::Calls];
    let around = SubgraphQuery { node: Some(tree.node("middle").id), depth: 1, limit: 100, kinds: calls.clone() };
    let piece = subgraph(&graph, &around).unwrap();
    assert_eq!((piece.nodes.len(), piece.relationships.len(), piece.truncated), (4, 5, false));
    let best = subgraph(&graph, &SubgraphQuery { node: None, depth: 1, limit: 2, kinds: calls }).unwrap();
    let names: Vec<_> = best.nodes.iter().map(|node| &*node.name).collect();
    assert_eq!((names, best.relationships.len(), best.truncated), (vec!["middle", "other"], 1, true));
}

#[test]
fn a_node_and_a_relationship_are_written_as_agreed() {
    let tree = tree();
    let id = tree.node("leaf").id;
    let value = serde_json::to_value(tree.node("leaf")).unwrap();
    let expected = serde_json::json!({
        "id": id, "kind": "function", "name": "leaf", "qualified_name": "leaf", "path": "a.rs", "language": "rust",
        "start_line": 4, "start_column": 1, "end_line": 4, "end_column": 27, "complexity": 2, "visibility": "public",
        "signature": "pub fn leaf()",
    });
    assert_eq!(value, expected);
    let graph = tree.analyzer.graph();
    let graph = graph.read();
    let caller = tree.node("middle").id;
    let call = node(&graph, caller).unwrap().outgoing.remove(0);
    let expected = serde_json::json!({
        "id": call.id, "kind": "calls", "source": caller, "target": id, "confidence": call.confidence, "path": "a.rs", "line": 2,
    });
    assert_eq!(serde_json::to_value(&call).unwrap(), expected);
}
