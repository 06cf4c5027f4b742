"""Supervision items and checklists of the nine sectors, written for this project; laws are named, not quoted."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SectorContent:
    """One sector: who supervises it, its item, the law, what firms of it are called, and its checklist."""

    sector: str
    department: str
    item: str
    basis: str
    businesses: tuple[str, ...]
    lines: tuple[str, ...]
    """Check contents, Chinese / English."""


SECTORS: tuple[SectorContent, ...] = (
    SectorContent(
        "market", "市场监督管理", "食品经营单位监督检查", "《中华人民共和国食品安全法》",
        ("餐饮店", "超市", "面馆", "烘焙坊", "便利店"),
        (
            "食品经营许可在有效期内并公示 / licence valid and displayed",
            "从业人员持有效健康证明 / staff hold valid health certificates",
            "食品原料来源可追溯 / ingredients are traceable",
            "冷藏冷冻温度符合要求 / cold storage at the required temperature",
            "生熟分开，防止交叉污染 / raw and cooked food kept apart",
        ),
    ),
    SectorContent(
        "drugs", "药品监督管理", "药品零售企业监督检查", "《中华人民共和国药品管理法》",
        ("大药房", "药店", "医药连锁店"),
        (
            "执业药师在岗 / a licensed pharmacist is on duty",
            "处方药凭处方销售 / prescription drugs sold on prescription only",
            "阴凉区温度符合要求 / cool area at the required temperature",
            "购进票据完整 / purchase documents complete",
        ),
    ),
    SectorContent(
        "work_safety", "应急管理", "工贸企业安全生产监督检查", "《中华人民共和国安全生产法》",
        ("机械厂", "家具厂", "铸造厂", "矿业公司"),
        (
            "安全生产责任制已建立 / duties for work safety are laid down",
            "特种作业人员持证上岗 / special operations by certified staff only",
            "有限空间作业有审批和监护 / confined-space work approved and attended",
            "可燃气体报警器完好 / gas alarms in working order",
            "应急预案已演练 / the emergency plan has been exercised",
        ),
    ),
    SectorContent(
        "finance", "地方金融监督管理", "小额贷款公司监督检查", "《防范和处置非法集资条例》",
        ("小额贷款公司", "典当行", "融资担保公司"),
        (
            "经营范围与许可一致 / business within the licence",
            "贷款利率符合规定 / lending rates as permitted",
            "未发现吸收公众存款 / no deposits taken from the public",
            "客户信息受到保护 / customers' data protected",
        ),
    ),
    SectorContent(
        "transport", "交通运输", "道路货物运输企业监督检查", "《中华人民共和国道路运输条例》",
        ("物流公司", "运输公司", "客运站"),
        (
            "道路运输经营许可有效 / operating licence valid",
            "车辆动态监控在线 / vehicles tracked online",
            "驾驶员从业资格有效 / drivers' qualifications valid",
            "未发现超限超载 / no overloading found",
        ),
    ),
    SectorContent(
        "ecology", "生态环境", "排污单位监督检查", "《中华人民共和国环境保护法》",
        ("化工厂", "水泥厂", "污水处理厂", "印染厂"),
        (
            "排污许可证有效并按证排污 / discharge permit valid and kept to",
            "污染防治设施正常运行 / abatement equipment running",
            "在线监测设备正常、数据真实 / monitoring in order, data genuine",
            "危险废物规范贮存 / hazardous waste stored properly",
            "台账完整 / records complete",
        ),
    ),
    SectorContent(
        "health", "卫生健康", "医疗机构监督检查", "《医疗机构管理条例》",
        ("诊所", "门诊部", "口腔诊所"),
        (
            "执业许可证有效 / practice licence valid",
            "医务人员具备资质 / staff qualified",
            "消毒与隔离符合要求 / disinfection and isolation as required",
            "医疗废物分类处置 / medical waste sorted and disposed of",
        ),
    ),
    SectorContent(
        "culture_tourism", "文化和旅游", "旅行社及娱乐场所监督检查", "《中华人民共和国旅游法》",
        ("旅行社", "网吧", "歌舞厅", "影城"),
        (
            "经营许可有效 / licence valid",
            "旅游合同规范签订 / travel contracts properly made",
            "未接纳未成年人 / no minors admitted",
            "安全出口畅通 / emergency exits clear",
        ),
    ),
    SectorContent(
        "natural_resources", "自然资源", "矿产资源开发监督检查", "《中华人民共和国矿产资源法》",
        ("采石场", "矿业公司", "砂石厂"),
        (
            "采矿许可证有效 / mining licence valid",
            "未越界开采 / no mining beyond the boundary",
            "矿山地质环境得到治理 / the site is being restored",
            "储量台账真实 / reserves recorded truthfully",
        ),
    ),
)  # fmt: skip
