"""Supervision items and checklists of the nine sectors, written for this project; laws are named, not quoted."""

import re
from dataclasses import dataclass
from typing import Any

NEEDS = re.compile(r"\s*\[([^\]]+)\]\Z")


def line_of(number: int, text: str, basis: str) -> dict[str, Any]:
    """Return a line of a checklist, with its required evidence or its condition."""
    line: dict[str, Any] = {
        "number": str(number), "text": NEEDS.sub("", text), "method": "现场检查 / on site", "basis": basis,
        "penalty_basis": f"{basis}法律责任章",
    }  # fmt: skip
    needs = NEEDS.search(text)
    if needs is None:
        return line
    asked, _, outcome = needs[1].partition("=")
    return line | ({"asked_when": {"number": asked, "outcome": outcome}} if outcome else {"evidence": [asked]})


@dataclass(frozen=True)
class SectorContent:
    """One sector: who supervises it, its item, the law, what firms of it are called, and its checklist.

    A line ends with what it needs: `[photo]` must be shown by a photo, `[1=fail]` is asked where line 1 failed.
    """

    sector: str
    department: str
    item: str
    basis: str
    since: str
    """From which day the law is in force, in the version meant."""
    businesses: tuple[str, ...]
    lines: tuple[str, ...]
    """Check contents, Chinese / English."""

    @property
    def law_number(self) -> str:
        """The number of its law in the register of knowledge."""
        return f"法规-{self.sector}"


SECTORS: tuple[SectorContent, ...] = (
    SectorContent(
        "market", "市场监督管理", "食品经营单位监督检查", "《中华人民共和国食品安全法》", "2015-10-01",
        ("餐饮店", "超市", "面馆", "烘焙坊", "便利店"),
        (
            "食品经营许可在有效期内并公示 / licence valid and displayed",
            "许可失效后是否仍在经营 / still trading after the licence lapsed [1=fail]",
            "从业人员持有效健康证明 / staff hold valid health certificates",
            "食品原料来源可追溯 / ingredients are traceable",
            "冷藏冷冻温度符合要求 / cold storage at the required temperature [photo]",
            "生熟分开，防止交叉污染 / raw and cooked food kept apart",
        ),
    ),
    SectorContent(
        "drugs", "药品监督管理", "药品零售企业监督检查", "《中华人民共和国药品管理法》", "2019-12-01",
        ("大药房", "药店", "医药连锁店"),
        (
            "执业药师在岗 / a licensed pharmacist is on duty",
            "药师离岗期间是否销售处方药 / prescription drugs sold while the pharmacist was away [1=fail]",
            "处方药凭处方销售 / prescription drugs sold on prescription only",
            "阴凉区温度符合要求 / cool area at the required temperature [photo]",
            "购进票据完整 / purchase documents complete",
        ),
    ),
    SectorContent(
        "work_safety", "应急管理", "工贸企业安全生产监督检查", "《中华人民共和国安全生产法》", "2002-11-01",
        ("机械厂", "家具厂", "铸造厂", "矿业公司"),
        (
            "安全生产责任制已建立 / duties for work safety are laid down",
            "主要负责人是否接受过安全培训 / the person in charge was trained [1=fail]",
            "特种作业人员持证上岗 / special operations by certified staff only",
            "有限空间作业有审批和监护 / confined-space work approved and attended",
            "可燃气体报警器完好 / gas alarms in working order [photo]",
            "应急预案已演练 / the emergency plan has been exercised",
        ),
    ),
    SectorContent(
        "finance", "地方金融监督管理", "小额贷款公司监督检查", "《防范和处置非法集资条例》", "2021-05-01",
        ("小额贷款公司", "典当行", "融资担保公司"),
        (
            "经营范围与许可一致 / business within the licence",
            "超范围业务是否已停止 / business beyond the licence has stopped [1=fail]",
            "贷款利率符合规定 / lending rates as permitted",
            "未发现吸收公众存款 / no deposits taken from the public",
            "客户信息受到保护 / customers' data protected [document]",
        ),
    ),
    SectorContent(
        "transport", "交通运输", "道路货物运输企业监督检查", "《中华人民共和国道路运输条例》", "2004-07-01",
        ("物流公司", "运输公司", "客运站"),
        (
            "道路运输经营许可有效 / operating licence valid",
            "许可失效后是否仍在承运 / still carrying after the licence lapsed [1=fail]",
            "车辆动态监控在线 / vehicles tracked online [photo]",
            "驾驶员从业资格有效 / drivers' qualifications valid",
            "未发现超限超载 / no overloading found",
        ),
    ),
    SectorContent(
        "ecology", "生态环境", "排污单位监督检查", "《中华人民共和国环境保护法》", "2015-01-01",
        ("化工厂", "水泥厂", "污水处理厂", "印染厂"),
        (
            "排污许可证有效并按证排污 / discharge permit valid and kept to",
            "无证或超证排放是否已停止 / discharge beyond the permit has stopped [1=fail]",
            "污染防治设施正常运行 / abatement equipment running",
            "在线监测设备正常、数据真实 / monitoring in order, data genuine",
            "危险废物规范贮存 / hazardous waste stored properly [photo]",
            "台账完整 / records complete",
        ),
    ),
    SectorContent(
        "health", "卫生健康", "医疗机构监督检查", "《医疗机构管理条例》", "1994-09-01",
        ("诊所", "门诊部", "口腔诊所"),
        (
            "执业许可证有效 / practice licence valid",
            "许可失效后是否仍在执业 / still practising after the licence lapsed [1=fail]",
            "医务人员具备资质 / staff qualified",
            "消毒与隔离符合要求 / disinfection and isolation as required",
            "医疗废物分类处置 / medical waste sorted and disposed of [photo]",
        ),
    ),
    SectorContent(
        "culture_tourism", "文化和旅游", "旅行社及娱乐场所监督检查", "《中华人民共和国旅游法》", "2013-10-01",
        ("旅行社", "网吧", "歌舞厅", "影城"),
        (
            "经营许可有效 / licence valid",
            "许可失效后是否仍在营业 / still open after the licence lapsed [1=fail]",
            "旅游合同规范签订 / travel contracts properly made",
            "未接纳未成年人 / no minors admitted",
            "安全出口畅通 / emergency exits clear [photo]",
        ),
    ),
    SectorContent(
        "natural_resources", "自然资源", "矿产资源开发监督检查", "《中华人民共和国矿产资源法》", "2025-07-01",
        ("采石场", "矿业公司", "砂石厂"),
        (
            "采矿许可证有效 / mining licence valid",
            "许可失效后是否仍在开采 / still mining after the licence lapsed [1=fail]",
            "未越界开采 / no mining beyond the boundary [photo]",
            "矿山地质环境得到治理 / the site is being restored",
            "储量台账真实 / reserves recorded truthfully",
        ),
    ),
)  # fmt: skip
